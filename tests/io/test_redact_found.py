"""What an attack on redaction found: each shape leaked, raised or took quadratic time once."""

import json

import pytest

from twin.io.redact import Redactor
from twin.model import Frame, Kind

SECRET, TAG = "Kanari17Z9x:q=8", "04A2B3C4D5E680"
# What .NET's System.Text.Json writes for a quote in a string, and the same one level deeper.
DOTNET = r"{\u0022%s\u0022:\u0022%%s\u0022}"
DEEPER = r"{\\u0022%s\\u0022:\\u0022%%s\\u0022}"
NAMES = (
    "pin", "Pin", "userPin", "simPIN", "pinCode", "pin_code", "keyCode", "pwd", "wifiPsk", "clientSecret",
    "accessToken", "apiKey",
    "api_key", "passphrase", "credentials", "password", "AuthorizationKey", "Authorization",
)  # fmt: skip
SECRETS = (
    *(f'{{"{name}":"%s"}}' for name in NAMES),
    '{"data":"{\\"pin\\":\\"%s\\"}"}',
    f'{{"data":"{DOTNET % "password"}"}}',
    f'{{"data":"{DEEPER % "pin"}"}}',
    '{"data":"{\\"passw\\\\u006frd\\":\\"%s\\"}"}',
    '{"password":["%s"]}',
    '{"tokens":[{"v":"a"},{"v":"%s"}]}',
    '{"password":["a]%s","\\n","b"]}',
    '{"password":{"v":"\\\\","w":[1,{"z":"}%s"}]}}',
    '{"data":"{\\"pin\\":[\\"\\\\n%s\\"]}"}',
    '{"password":["%s',
    '{"key":"ApnPwd","value":"%s"}',
    '{"key":"WifiPSK","value":"%s"}',
    '{"key":"SimPin","readonly":false,"value":"%s"}',
    '{"key":"A","value":"{\\"key\\":\\"AuthorizationKey\\",\\"value\\":\\"%s\\"}"}',
    '{"password":"a","x":1} {"key":"AuthorizationKey","value":"%s"',  # and an odd shape
    '[{"key":"AuthorizationKey","value":"ok"},{"key":"AuthorizationKey","x":{"y":1},"value":"%s"}]',
    '{"value":"%s","x":{},"key":"AuthorizationKey"}',
    '{"value":"a}b%s","key":"AuthorizationKey"}',
    "ftp://user:a@%s@host/f",
    "ftp://user:a/%s@host/f",
    "//user:%s@host/",
    "https://h/a?pwd=%s",
    "https://h/?X-Amz-Credential=%s",
    "/CP7%%3Ftoken=%s",
    "/CP7%%3ftoken%%3D%s",
    'password="%s"',
    '{"data":"password=\\"%s\\""}',
    "{'password':'%s'}",
    "<password>%s</password>",
    "password is %s",
    "Authorization: Basic %s",
    "Bearer %s",
)
NUMBERS = (
    '{"pin":%s}',
    '{"data":"{\\"pin\\":%s}"}',
    '{"key":"AuthorizationKey","value":%s}',
    '{"passcode":{"n":[%s]}}',
)
IDENTITIES = (
    '{"idTag":["%s"]}',
    '{"idTags":["A","%s"]}',
    '{"idToken":{"idToken":"%s","type":"ISO14443"}}',
    *(f'{{"{name}":"%s"}}' for name in ("id_tag", "tagId", "rfid", "emaid", "serialNumber", "groupIdToken")),
    '{"key":"FreeVendActiveIdTag","readonly":false,"value":"%s"}',
    '{"configurationKey":[{"key":"ICCID","readonly":true,"value":"%s"}]}',
    '{"value":"%s","key":"ChargePointSerialNumber"}',
    "idTag=%s rejected",
    "unknown idTag: %s.",
    "idTag %s is blocked",
    "{'idTag':'%s'}",
    "<idTag>%s</idTag>",
    "/CP7?idTag=%s",
    f'{{"data":"{DOTNET % "idTag"}"}}',
    f'{{"data":"{DEEPER % "idTag"}"}}',
    '{"data":"{\\"\\\\u0069dTag\\":\\"%s\\"}"}',
    '{"data":"OCMF|{\\u0022ID\\u0022:\\u0022%s\\u0022}"}',
)
TAGS = (TAG, "DE*ABC*C12345678", "04:A2:B3:C4", "AB-12 CD", "12345678")
ECHOES = (
    "tag %s.", "tag-%s", "idTag_%s", "RFID%s", '{"info":"%s"}', "tag(%s)", "%s,", "/x/%s/y", "%sXYZ",
    "x\\n%s", "a, %s, b", '[4,"1","E","no %s, sorry",{}]', '[2,"1","DataTransfer",{"data":"%s"}]',
)  # fmt: skip
HARMLESS = (
    *(f'{{"key":"{key}","readonly":false,"value":"60"}}' for key in (
        "WebSocketPingInterval", "GetConfigurationMaxKeys", "AuthorizationCacheEnabled", "SpinTime")),
    '{"unknownKey":["Abc"]}', '{"info":"pinned to 3"}', '{"info":"Pin locked"}', '{"data":"token ring"}',
    '{"pin":null}',
    '{"info":"Authorization: Blocked"}', "https://h:8080/f.bin?version=1.2", "http://h:80/a@b",
    "a://b c@d", '{"issuerKeyHash":"AB12"}', '{"info":"card 3 removed"}', '{"info":"serial: port open"}',
)  # fmt: skip


def redactor() -> Redactor:
    return Redactor(bytes(range(32)))


@pytest.mark.parametrize("shape", SECRETS)
@pytest.mark.parametrize("keep", [False, True])
def test_no_part_of_a_secret_is_left(shape: str, *, keep: bool) -> None:
    hidden = Redactor(bytes(32), keep_id_tags=keep).text(shape % SECRET)
    assert "Kanari" not in hidden
    assert "q=8" not in hidden


def test_a_secret_that_ends_with_a_backslash_ends_there() -> None:
    """On every level: behind its closing quote all stays as it was."""
    told: object = {"pin": "Kanari\\", "stays": "as it was"}
    for _ in range(4):
        told = {"data": json.dumps(told)}
        hidden: object = json.loads(redactor().text(json.dumps(told)))
        while isinstance(hidden, dict) and "data" in hidden:
            hidden = json.loads(hidden["data"])
        assert isinstance(hidden, dict)
        assert hidden["stays"] == "as it was"
        assert "Kanari" not in hidden["pin"]


@pytest.mark.parametrize("shape", NUMBERS)
def test_a_secret_number_stays_a_number(shape: str) -> None:
    hidden = redactor().text(shape % "90817263")
    assert "90817263" not in hidden
    json.loads(hidden)


@pytest.mark.parametrize("shape", IDENTITIES)
def test_an_identity_by_any_name(shape: str) -> None:
    hidden = redactor().text(shape % TAG)
    assert TAG not in hidden
    assert redactor().pseudonym("idTag", TAG) in hidden or "erial" in shape or "ICCID" in shape
    if '"' in shape and shape.startswith("{"):
        json.loads(hidden)


def test_what_is_no_identity_stays() -> None:
    token = json.loads(redactor().text(IDENTITIES[2] % TAG))
    assert token["idToken"]["type"] == "ISO14443"


@pytest.mark.parametrize("tag", TAGS)
@pytest.mark.parametrize("echo", ECHOES)
def test_a_known_identity_is_hidden_wherever_it_stands(tag: str, echo: str) -> None:
    hide = redactor()
    hide.text(f'{{"idTag":"{tag}"}}')
    hidden = hide.text(echo % tag.lower())
    assert tag.lower() not in hidden.lower()
    assert len(hidden) == len(echo % tag)


@pytest.mark.parametrize("text", HARMLESS)
def test_harmless_texts_stay(text: str) -> None:
    assert redactor().text(text) == text


@pytest.mark.parametrize(
    "text",
    [
        '[2,"1234567","Heartbeat",{}]',
        '{"sampledValue":[{"value":"1234567","unit":"Wh"}]}',
        '{"sampledValue":[{"value":"1234567.5","unit":"Wh"}]}',
        '{"meterStop":1234567}',
        '{"data":"{\\"meter\\":1234567}"}',
    ],
)
def test_a_reading_that_equals_a_known_idtag_stays_a_reading(text: str) -> None:
    hide = redactor()
    hide.text('{"idTag":"1234567"}')
    assert hide.text(text) == text


@pytest.mark.parametrize("value", ["9" * 1_000_000, "A9" * 500_000])
def test_a_huge_identity_is_hidden_and_not_remembered(value: str) -> None:
    hide = redactor()
    hidden = hide.text(f'{{"idTag":"{value}"}}')
    assert len(hidden) == len(value) + 12
    assert value[:64] not in hidden
    assert hide.text(f"seen {value[:99]} again") == f"seen {value[:99]} again"


def test_letters_that_fold_to_ascii_raise_nothing() -> None:
    """To a pattern that ignores case the dotless i is an i, to a table it is none."""
    hidden = redactor().text(f'{{"idTag":"{TAG}","\u0131dTag":"x","\u0131ccid":1,"\u017ferial":"y"}}')
    assert TAG not in hidden


def test_every_text_of_a_frame_is_redacted() -> None:
    seen = redactor().frame(
        Frame(
            seq=1,
            at_us=0,
            link="c",
            kind=Kind.OPEN,
            station=f"CP7?token={SECRET}",
            facts={
                "path": f"/CP7%3Ftoken={SECRET}",
                "how": f"password={SECRET}",
                "request_headers": [
                    ["Referer", f"https://u:{SECRET}@h/"],
                    ["CF-Connecting-IP", "192.0.2.7"],
                    ["X-Client-IP", "192.0.2.7"],
                    ["Host", "csms.example"],
                ],
            },
        )
    )
    told = repr(seen)
    assert "Kanari" not in told
    assert "192.0.2.7" not in told
    assert "csms.example" in told


PIECES = (
    '{"\\"', '{"\\"a', "password", "\\\\", "\\u005c", "\\\\u0022", 'pin="', "pin:", "://a:", "://", "a@",
    "idTag ", '"idTags":["a",', '"password":[', '"password":{',
    '"value":', '\\"value\\":\\"', '"key":"', "<pin>",
    "Bearer ", "%3Ftoken", "04A2B3", "000000", "[", "{", "-----BEGIN PRIVATE KEY-----", "-----BEGIN ",
)  # fmt: skip


@pytest.mark.parametrize("piece", PIECES)
def test_no_text_takes_quadratic_time(piece: str) -> None:
    """Quadratic would be an hour here; the suite's own time-out is the judge."""
    hide = redactor()
    hide.text('{"idTag":"04A2B3C4D5E680"} {"idTag":"0000001"} {"idTag":"0000000002"}')
    for head in ("", '{"key":"AuthorizationKey"', '"idTags":["', "\\u0022 idTag OCMF| pin "):
        hide.text(head + piece * (400_000 // len(piece)))
