"""Every check of the preflight can pass and can fail, for real; and says what to do."""

import contextlib
import json
import os
import socket
import ssl
import subprocess
import sys
import threading
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import trustme
from msgspec.structs import replace

from twin.io import clock
from twin.io.keys import load_or_create
from twin.io.preflight import Check, Grade, preflight
from twin.io.settings import Route, Settings, Store, Tls

NOW = clock.now()


def settings_of(folder: Path, **more: object) -> Settings:
    route = Route(listen_host="127.0.0.1", listen_port=0, upstream=str(more.pop("upstream", "")))
    made = Settings(
        directory=str(folder / "site.capture"),
        routes=(route,),
        key_file=str(folder / "pseudonym.key"),
        store=Store(seal_key=str(folder / "seal.key"), quota_bytes=1 << 20),
    )
    return replace(made, **more)  # type: ignore[arg-type]  # by name


def graded(checks: list[Check], name: str) -> list[Grade]:
    return [check.grade for check in checks if check.name == name]


def looked(settings: Settings, name: str, **more: object) -> Grade:
    """The worst grade of the checks of this name."""
    grades = graded(preflight(settings, NOW, **more), name)  # type: ignore[arg-type]  # by name
    assert grades, name
    return next(grade for grade in (Grade.FAIL, Grade.WARN, Grade.PASS) if grade in grades)


@contextlib.contextmanager
def upstream(context: ssl.SSLContext | None = None) -> Iterator[str]:
    """A CSMS in so far as it takes connections."""
    with socket.create_server(("127.0.0.1", 0)) as server:

        def serve() -> None:
            with contextlib.suppress(OSError):
                while True:
                    end, _ = server.accept()
                    with end, contextlib.suppress(OSError):
                        if context is not None:
                            context.wrap_socket(end, server_side=True).close()

        thread = threading.Thread(target=serve)
        thread.start()
        try:
            yield f"{'wss' if context else 'ws'}://localhost:{server.getsockname()[1]}"
        finally:
            server.shutdown(socket.SHUT_RDWR)
            thread.join()


def test_a_sound_start_has_nothing_that_failed(tmp_path: Path) -> None:
    with upstream() as url:
        checks = preflight(settings_of(tmp_path, upstream=url), NOW, bypass="iptables -t nat -D …")
    assert [check for check in checks if check.grade is Grade.FAIL] == []
    assert {check.name for check in checks} >= {
        "clock", "mitmproxy", "directory", "disk speed", "disk space", "pseudonym key", "seal key",
        "listener", "upstream", "descriptors", "idle time-out", "bypass",
    }  # fmt: skip
    assert all(check.next_step for check in checks if check.grade is not Grade.PASS)
    assert graded(checks, "bypass") == [Grade.PASS]
    assert list(tmp_path.iterdir()) == []  # it leaves nothing behind


def test_a_port_in_use_fails(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        route = Route(listen_host="127.0.0.1", listen_port=taken.getsockname()[1])
        assert looked(settings_of(tmp_path, routes=(route,)), "listener") is Grade.FAIL


def test_an_upstream_that_is_not_there_fails(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as gone:
        port = gone.getsockname()[1]
    assert looked(settings_of(tmp_path, upstream=f"ws://127.0.0.1:{port}"), "upstream") is Grade.FAIL
    assert looked(settings_of(tmp_path, upstream="ws://no-such-host.invalid:80"), "upstream") is Grade.FAIL


def test_an_upstream_of_another_ca_fails_and_of_the_named_one_passes(tmp_path: Path) -> None:
    ca, other = trustme.CA(), trustme.CA()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    ca.issue_cert("localhost").configure_cert(context)
    for held, name in ((ca, "ca"), (other, "other")):
        held.cert_pem.write_to_path(str(tmp_path / f"{name}.pem"))
    with upstream(context) as url:
        right = settings_of(tmp_path, upstream=url, tls=Tls(upstream_ca=str(tmp_path / "ca.pem")))
        assert looked(right, "upstream TLS") is Grade.PASS
        wrong = replace(right, tls=Tls(upstream_ca=str(tmp_path / "other.pem")))
        assert looked(wrong, "upstream TLS") is Grade.FAIL
        assert looked(replace(right, tls=Tls(accept_insecure_upstream=True)), "upstream TLS") is Grade.WARN
    with upstream() as plain:
        as_tls = replace(right, routes=(replace(right.routes[0], upstream=plain.replace("ws:", "wss:")),))
        assert looked(as_tls, "upstream TLS") is Grade.FAIL


def test_a_place_that_cannot_be_written_to_fails(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    assert looked(settings_of(tmp_path, directory=str(tmp_path / "file")), "directory") is Grade.FAIL
    assert looked(settings_of(tmp_path, directory="/proc/site.capture"), "directory") is Grade.FAIL


def test_a_directory_that_others_read_is_warned_of(tmp_path: Path) -> None:
    place = tmp_path / "open.capture"
    place.mkdir()
    place.chmod(0o755)
    assert looked(settings_of(tmp_path, directory=str(place)), "permissions") is Grade.WARN


def test_a_quota_that_does_not_fit_fails(tmp_path: Path) -> None:
    assert looked(settings_of(tmp_path, store=Store(quota_bytes=1 << 60)), "disk space") is Grade.FAIL
    assert looked(settings_of(tmp_path, store=Store()), "quota") is Grade.WARN


@pytest.mark.parametrize("name", ["pseudonym key", "seal key"])
def test_a_key_that_others_can_read_fails(tmp_path: Path, name: str) -> None:
    path = tmp_path / f"{name.replace(' ', '.')}"
    load_or_create(path, name)
    assert looked(settings_of(tmp_path), name) is Grade.PASS
    path.chmod(0o644)
    checks = preflight(settings_of(tmp_path), NOW)
    assert [check.next_step for check in checks if check.name == name] == [f"chmod 600 {path}"]


def test_a_heartbeat_that_the_time_out_outruns_fails(tmp_path: Path) -> None:
    assert looked(settings_of(tmp_path, heartbeat_s=600, tcp_timeout_s=1_799), "idle time-out") is Grade.FAIL
    assert looked(settings_of(tmp_path, heartbeat_s=600, tcp_timeout_s=1_800), "idle time-out") is Grade.PASS


def test_too_few_descriptors_fail(tmp_path: Path) -> None:
    assert looked(settings_of(tmp_path), "descriptors", stations=10) is Grade.PASS
    assert looked(settings_of(tmp_path), "descriptors", stations=10**9) is Grade.FAIL


def test_certificates_that_do_not_fit_or_have_expired_fail(tmp_path: Path) -> None:
    ca, at = trustme.CA(), datetime.now(UTC)  # noqa: TID251  # certificates live in the real time
    whole, keyless, old, soon = (tmp_path / f"{name}.pem" for name in ("whole", "keyless", "old", "soon"))
    ca.issue_cert("localhost").private_key_and_cert_chain_pem.write_to_path(str(whole))
    ca.cert_pem.write_to_path(str(keyless))
    expired = ca.issue_cert("localhost", not_before=at - timedelta(2), not_after=at - timedelta(1))
    expired.private_key_and_cert_chain_pem.write_to_path(str(old))
    ending = ca.issue_cert("localhost", not_after=at + timedelta(3))
    ending.private_key_and_cert_chain_pem.write_to_path(str(soon))
    for path, grade in ((whole, Grade.PASS), (keyless, Grade.FAIL), (old, Grade.FAIL), (soon, Grade.WARN)):
        held = settings_of(tmp_path, tls=Tls(certificate=str(path)))
        assert looked(held, f"certificate {path.name}") is grade
    assert (
        looked(settings_of(tmp_path, tls=Tls(client_ca=str(keyless))), "certificate keyless.pem")
        is Grade.PASS
    )
    assert (
        looked(settings_of(tmp_path, tls=Tls(client_ca="/nothing.pem")), "certificate nothing.pem")
        is Grade.FAIL
    )


def test_a_listener_for_all_with_a_client_ca_is_warned_of(tmp_path: Path) -> None:
    route = Route(listen_host="0.0.0.0", listen_port=0)  # noqa: S104  # it is what is warned of
    held = settings_of(tmp_path, routes=(route,), tls=Tls(client_ca="/ca.pem"))
    assert looked(held, "listener") is Grade.WARN


def test_transparent_mode_needs_its_rule(tmp_path: Path) -> None:
    route = Route(listen_host="127.0.0.1", listen_port=0)
    held = settings_of(tmp_path, mode="transparent", routes=(route,))
    assert looked(held, "redirection") is Grade.FAIL
    assert graded(preflight(held, NOW), "forwarding")


def test_the_verb_says_what_failed_and_ends_with_2(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "twin", "record", "--preflight", "--json", "--listen", "127.0.0.1:0"]
    command += ["-o", str(tmp_path / "c"), "--key-file", str(tmp_path / "k")]
    with upstream() as url:
        good = subprocess.run([*command, "--upstream", url], capture_output=True, check=False)
    bad = subprocess.run([*command, "--upstream", url], capture_output=True, check=False, env={**os.environ})
    assert (good.returncode, json.loads(good.stdout)["ready"]) == (0, True)
    assert (bad.returncode, json.loads(bad.stdout)["ready"]) == (2, False)
    assert not (tmp_path / "c").exists()
