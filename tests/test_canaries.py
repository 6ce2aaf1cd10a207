"""Fifty canaries through a real recording, one wherever a secret or an identity may stand: none comes out.

Whatever the recording leaves or says is searched, in every spelling a value may take on the way.
"""

import base64
import csv
import io
import json
import os
import subprocess
import sys
import urllib.parse
import urllib.request
from pathlib import Path

import pytest

from tests.addons.wires import KEY, Relay, answered, connected, line_with, received, rest, twin_record
from tests.wire_cases import frame, mask_of
from twin.analysis import load
from twin.model import Side

MASK = mask_of(Side.STATION)


def canary(number: int) -> str:
    """Twelve characters that stand nowhere else; as an idTag, a secret, a serial."""
    return f"KANARI{number:02}Z9X7"


C = [canary(number) for number in range(60)]
LONG_KEY = "".join(C[20:22])
# Each text is sent by the station or by the CSMS; the number says which canaries it carries.
STATION_TEXTS = (
    f'[2,"1","BootNotification",{{"chargePointVendor":"V","chargePointModel":"M","chargePointSerialNumber":"{C[1]}",'
    f'"chargeBoxSerialNumber":"{C[2]}","meterSerialNumber":"{C[3]}","iccid":"{C[4]}","imsi":"{C[5]}"}}]',
    f'[2,"2","Authorize",{{"idTag":"{C[6]}"}}]',
    f'[2,"3","StartTransaction",{{"connectorId":1,"idTag":"{C[7]}","meterStart":0,"timestamp":"2026-11-26T10:00:00Z"}}]',
    f'[2,"4","StatusNotification",{{"connectorId":1,"errorCode":"NoError","status":"Charging","info":"card {C[7]} ok"}}]',
    f'[2,"5","DataTransfer",{{"vendorId":"v","data":"{{\\"idTag\\":\\"{C[8]}\\",\\"n\\":1}}"}}]',
    f'[2,"6","DataTransfer",{{"vendorId":"v","data":"pin={C[9]};door open"}}]',
    f'[2,"7","DataTransfer",{{"vendorId":"v","data":"{{\\"userPassword\\":\\"{C[10]}\\"}}"}}]',
    f'[4,"9","InternalError","tag {C[6]} unknown",{{"idTag":"{C[11]}","deep":{{"parentIdTag":"{C[12]}"}}}}]',
    f'[3,"g",{{"configurationKey":[{{"readonly":true,"value":"{C[13]}","key":"AuthorizationKey"}},'
    f'{{"key":"VendorPassword","readonly":false,"value":"{C[14]}"}}]}}]',
    f'[2,"10","StopTransaction",{{"transactionId":5,"idTag":"{C[7]}","meterStop":9,"timestamp":"2026-11-26T11:00:00Z",'
    f'"transactionData":[{{"timestamp":"2026-11-26T11:00:00Z","sampledValue":[{{"format":"SignedData","value":'
    f'"OCMF|{{\\"FV\\":\\"1.0\\",\\"IT\\":\\"ISO14443\\",\\"ID\\":\\"{C[15]}\\"}}|{{\\"SD\\":\\"30\\"}}"}}]}}]}}]',
    f'[2,"11","Authorize",{{"\\u0069dTag":"{C[16]}"}}]',
    f'[2,"12","Authorize",{{"IDTAG" : "{C[17]}"}}]',
    f'[2,"13","Authorize",{{"idTag":"{C[18]}"',  # broken JSON
    f'text that is no JSON, "idTag":"{C[19]}"',
    f'[2,"14","DiagnosticsStatusNotification",{{"status":"Uploaded","note":"ftp://user:{C[22]}@host/p?token={C[23]}"}}]',
    f'[2,"15","DataTransfer",{{"vendorId":"v","data":"-----BEGIN EC PRIVATE KEY-----{C[24]}-----END EC PRIVATE KEY-----"}}]',
    f'[2,"16","Authorize",{{"idTag":"{C[25].lower()}"}}]',
    f'[2,"17","DataTransfer",{{"vendorId":"v","data":"seen {C[25]} again"}}]',
    f'[4,"18","InternalError","no idTag {C[6]}, nor RFID{C[7]}.",{{}}]',
    f'[2,"19","DataTransfer",{{"vendorId":"v","data":"{{\\u0022pin\\u0022:\\u0022{C[54]}\\u0022}}"}}]',
    f'[2,"20","DataTransfer",{{"vendorId":"v","data":"{{\\u0022idTag\\u0022:\\u0022{C[55]}\\u0022}}"}}]',
    f'[3,"g",{{"configurationKey":[{{"key":"FreeVendIdTag","readonly":false,"value":"{C[56]}"}}]}}]',
)  # fmt: skip
CSMS_TEXTS = (
    f'[3,"2",{{"idTagInfo":{{"status":"Accepted","parentIdTag":"{C[26]}"}}}}]',
    f'[2,"k","ChangeConfiguration",{{"key":"AuthorizationKey","value":"{LONG_KEY}"}}]',
    f'[2,"l","SendLocalList",{{"listVersion":1,"updateType":"Full","localAuthorizationList":[{{"idTag":"{C[27]}",'
    f'"idTagInfo":{{"status":"Accepted","parentIdTag":"{C[28]}"}}}},{{"idTag":"{C[29]}"}}]}}]',
    f'[2,"m","UpdateFirmware",{{"location":"ftp://firm:{C[30]}@host/fw.bin","retrieveDate":"2026-11-26T10:00:00Z"}}]',
    f'[2,"n","GetDiagnostics",{{"location":"https://host/up?sig={C[31]}&x=1"}}]',
    f'[2,"o","RemoteStartTransaction",{{"connectorId":1,"idTag":"{C[32]}"}}]',
    f'[2,"p","ReserveNow",{{"connectorId":1,"idTag":"{C[33]}","parentIdTag":"{C[34]}","reservationId":1,'
    f'"expiryDate":"2026-11-26T10:00:00Z"}}]',
    '[2,"g","GetConfiguration",{}]',
    f'[2,"q","DataTransfer",{{"vendorId":"v","data":"{{\\"card\\":{{\\"idTag\\":\\"{C[35]}\\"}}}}"}}]',
    f'[2,"r","ChangeConfiguration",{{"value":"{C[36]}","key":"WebPanelPassword"}}]',
)  # fmt: skip
HEADERS = (
    f"Authorization: Basic {base64.b64encode(b'CP7:' + C[37].encode() + bytes((0, 255)))!r}\r\n".replace("b'", "").replace("'", "")
    + f"Cookie: session={C[38]}\r\nProxy-Authorization: Bearer {C[39]}\r\nX-Api-Token: {C[40]}\r\n"
    + f"X-Forwarded-For: {C[41]}\r\nForwarded: for={C[42]}\r\n"
    + f"X-Client-IP: {C[57]}\r\nReferer: https://u:{C[58]}@host/\r\n"
).encode()  # fmt: skip
PATH = f"/ocpp/CP7?token={C[43]}&password={C[44]}"
# Bytes that no text redaction can read: they are stored as lengths only.
RAW = (
    frame(2, f"binary {C[45]}".encode(), mask=MASK),
    frame(9, C[46].encode(), mask=MASK),
    frame(10, C[47].encode(), mask=MASK),
    frame(1, f"not UTF-8 \xff {C[48]}".encode("latin-1"), mask=MASK),
    frame(3, C[49].encode(), mask=MASK),
)
FRAGMENTED = f'[2,"f","Authorize",{{"idTag":"{C[50]}"}}]'.encode()
CLOSE = frame(8, (4001).to_bytes(2) + f'tag "idTag":"{C[51]}" pin={C[52]}'.encode(), mask=MASK)
REFUSED_PATH = f"/ocpp/CP8?key={C[53]}"
SENT = sorted({value for value in C if value in "".join((*STATION_TEXTS, *CSMS_TEXTS, PATH, REFUSED_PATH))} |
              {C[16], C[25], *C[37:43], *C[45:53], C[57], C[58]})  # fmt: skip


def spellings(value: str) -> set[bytes]:
    """How a value may be written on the way to a file or a screen."""
    raw = value.encode()
    spelt = {raw, raw.lower(), raw.hex().encode(), raw.hex().upper().encode()}
    spelt.add(urllib.parse.quote(value).encode())
    spelt.add("".join(f"%{byte:02x}" for byte in raw).encode())
    spelt |= {base64.b64encode(bytes(pad) + raw)[(pad * 4 + 2) // 3 : -4] for pad in range(3)}
    return spelt


def found(data: bytes) -> list[str]:
    """The canaries in some bytes, whatever the case."""
    low = data.lower()
    return [value for value in SENT if any(one in data or one in low for one in spellings(value))]


def converse(relay: Relay) -> None:
    with connected(relay, path=PATH, headers=HEADERS) as (station, csms):
        for text in STATION_TEXTS:
            wire = frame(1, text.encode(), mask=MASK)
            station.sendall(wire)
            assert received(csms, len(wire)) == wire
        for text in CSMS_TEXTS:
            wire = frame(1, text.encode(), mask=None)
            csms.sendall(wire)
            assert received(station, len(wire)) == wire
        split = frame(1, FRAGMENTED[:30], mask=MASK, fin=False) + frame(0, FRAGMENTED[30:], mask=MASK)
        for wire in (*RAW, split, CLOSE):
            for place in range(0, len(wire), 9):  # sliced over many reads
                station.sendall(wire[place : place + 9])
            assert received(csms, len(wire)) == wire
        station.close()
        rest(csms)
    refuse(relay)


def refuse(relay: Relay) -> None:
    """A handshake that the CSMS turns down."""
    import socket

    with socket.create_connection(("127.0.0.1", relay.port), timeout=30) as station:
        station.sendall(
            f"GET {REFUSED_PATH} HTTP/1.1\r\nHost: csms\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            f"Sec-WebSocket-Key: {KEY}\r\nSec-WebSocket-Version: 13\r\n\r\n".encode()
        )
        with relay.csms.accept()[0] as csms:
            csms.settimeout(30)
            answered(csms)
            csms.sendall(b"HTTP/1.1 401 Unauthorized\r\nContent-Length: 0\r\n\r\n")
            assert b" 401 " in answered(station)


def twin(*arguments: str) -> bytes:
    """Everything a verb says, on both streams."""
    done = subprocess.run(
        [sys.executable, "-m", "twin", *arguments], capture_output=True, check=False, timeout=120,
        env={**os.environ, "NO_COLOR": "1"},
    )  # fmt: skip
    assert b"Traceback" not in done.stderr, done.stderr
    return done.stdout + done.stderr


@pytest.fixture(scope="module")
def surfaces(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """What a recording leaves and says, and what every other verb makes of it."""
    folder = tmp_path_factory.mktemp("canaries")
    with twin_record(folder, "--plain", "--metrics", "127.0.0.1:0") as relay:
        said = (
            relay.said if "metrics" in relay.said else relay.said + line_with(relay.process, r"metrics .*\n")
        )
        converse(relay)
        address = said.partition("metrics ")[2].split()[0]
        with urllib.request.urlopen(address) as page:  # noqa: S310  # ours, on loopback
            metrics = page.read()
        assert relay.stop() in (0, 1), relay.said
    capture = str(relay.capture)
    return {
        "capture": b"".join(path.read_bytes() for path in relay.capture.rglob("*") if path.is_file()),
        "findings": relay.findings.read_bytes(),
        "what it said": (said + relay.said).encode(),
        "metrics": metrics,
        "twin check": twin("check", capture),
        "twin check --json": twin("check", capture, "--json", "--html", str(folder / "page.html")),
        "page": (folder / "page.html").read_bytes(),
        "twin check --integrity": twin("check", "--integrity", capture),
        "twin show": twin("show", capture, "--frames"),
        "twin show --json": twin("show", capture, "--json"),
        "twin convert": twin("convert", capture, "-o", str(folder / "trace.jsonl")),
        "open-ocpp-trace": (folder / "trace.jsonl").read_bytes(),
        "twin replay": twin("replay", capture, "--json"),
        "twin diff": twin("diff", capture, capture, "--json"),
        "errors": twin("check", str(relay.capture / "manifest.json")) + twin("show", capture, "--tag", "X"),
        "notebooks": notebooks(relay.capture),
    }


def notebooks(capture: Path) -> bytes:
    """Every table that notebooks work on, as text."""
    out = io.StringIO()
    tables = load(capture)
    for name in dir(tables):
        value = getattr(tables, name)
        if not name.startswith("_") and hasattr(value, "to_csv"):
            value.to_csv(out, quoting=csv.QUOTE_ALL)
    assert out.tell() > 1_000
    return out.getvalue().encode()


def test_there_are_fifty_of_them() -> None:
    assert len(SENT) >= 50


def test_no_canary_comes_out(surfaces: dict[str, bytes]) -> None:
    assert len(surfaces) == 16
    assert {name: found(data) for name, data in surfaces.items() if found(data)} == {}


def test_sessions_still_link_and_schemas_still_pass(surfaces: dict[str, bytes]) -> None:
    """What was hidden is hidden the same way every time, and no shape was broken."""
    lines = [json.loads(line) for line in surfaces["open-ocpp-trace"].splitlines()]
    tags = {
        line["action"]: line["payload"]["idTag"]
        for line in lines
        if line["messageType"] == "CALL" and "idTag" in line.get("payload", {})
    }
    assert tags["StartTransaction"] == tags["StopTransaction"]
    assert len(tags["StartTransaction"]) == len(C[7])
    info = next(line["payload"]["info"] for line in lines if line["action"] == "StatusNotification")
    assert info == f"card {tags['StartTransaction']} ok"


def test_without_redaction_the_search_finds_them(tmp_path: Path) -> None:
    """The search sees what it looks for: with identities kept it finds all but the secrets."""
    with twin_record(tmp_path, "--quiet", "--keep-id-tags") as relay:
        converse(relay)
        assert relay.stop() in (0, 1), relay.said
    stored = b"".join(path.read_bytes() for path in relay.capture.rglob("*") if path.is_file())
    seen = set(found(stored))
    secrets = {
        *C[9:11],
        *C[13:15],
        *C[22:25],
        C[30],
        C[31],
        *C[36:41],
        C[43],
        C[44],
        C[52],
        C[53],
        C[54],
        C[58],
    }
    assert not seen & secrets
    assert len(seen) > 25, seen
    assert {C[6], C[7], C[26], C[27], C[45], C[46], C[48], C[50]} <= seen
