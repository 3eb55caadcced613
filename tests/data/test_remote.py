"""Remote pictures under their rules, against a stub on this machine that is dialled instead of the checked address."""

import socket
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from io import BytesIO

import pytest
from PIL import Image

from keepsight.data.messages import read_training_rows
from keepsight.data.pictures import decode
from keepsight.data.remote import RemotePictures, public
from keepsight.types import KeepsightError

PUBLIC = "93.184.216.34"


def png():
    buffer = BytesIO()
    Image.new("RGB", (3, 2), "red").save(buffer, "PNG")
    return buffer.getvalue()


class Stub(BaseHTTPRequestHandler):
    def log_message(self, *args):
        pass

    def do_GET(self):
        self.server.asked.append((self.headers["Host"], self.path, dict(self.headers)))
        name = self.path.split("?")[0].rpartition("/")[2]
        if name.startswith("to-"):
            self.send_response(302)
            self.send_header("Location", self.server.places[name])
            self.end_headers()
            return
        if name == "status":
            self.send_error(404)
            return
        data = {"page.png": b"<html>", "big.png": b"x" * 5000}.get(name, png())
        self.send_response(200)
        if name == "packed.png":
            self.send_header("Content-Encoding", "gzip")
        if name == "short.png":
            self.send_header("Content-Length", str(len(data) + 10))
        self.end_headers()
        if name == "slow.png":
            for _ in range(600):  # a minute, unless the reader hangs up
                self.wfile.write(b"x")
                self.wfile.flush()
                time.sleep(0.1)
        else:
            self.wfile.write(data)


@pytest.fixture
def stub():
    server = ThreadingHTTPServer(("127.0.0.1", 0), Stub)
    server.daemon_threads = True
    server.handle_error = lambda *_: None  # a reader that hangs up is what some tests are about
    server.asked, server.places = [], {}
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    yield server
    server.shutdown()
    server.server_close()


@pytest.fixture
def make(stub, tmp_path):
    """A source whose resolver is a table and whose connections all end at the stub; `dialled` says where to."""

    def build(names=None, cache="cache"):
        source = RemotePictures(
            tmp_path / cache,
            resolve=lambda host, port: (names or {}).get(host, [PUBLIC]),
            connect=lambda address, port, seconds: dial(source, address, port, seconds),
        )
        source.dialled = []
        return source

    def dial(source, address, port, seconds):
        source.dialled.append((address, port))
        return socket.create_connection(stub.server_address, timeout=seconds)

    return build


def test_a_picture_is_fetched_once_and_kept_by_content(make, stub, tmp_path):
    media = make().media("http://pictures.example/a b/ü.png?size=1#part".replace(" ", "%20"))
    assert not stub.asked, "nothing is fetched before it is read"
    assert decode(media).size == (3, 2)
    assert stub.asked[0][:2] == ("pictures.example", "/a%20b/%C3%BC.png?size=1")
    again = make().media("http://pictures.example/a%20b/ü.png?size=1#part")
    assert again.read() == png() and len(stub.asked) == 1
    (blob,) = (tmp_path / "cache" / "pictures").iterdir()
    assert blob.name == media.sha256
    blob.write_bytes(b"another picture")
    assert again.read() == png() and len(stub.asked) == 2, "a blob that is not what its name says is not used"
    assert not {"Authorization", "Cookie", "User-Agent"} & set(stub.asked[0][2])


def test_the_address_that_was_checked_is_dialled(make):
    """A second look-up could say something else: there is none."""
    looked = []
    source = make()
    source._resolve = lambda host, port: (
        looked.append(host) or ([PUBLIC] if len(looked) == 1 else ["127.0.0.1"])
    )
    assert source.media("http://rebind.example/a.png").read() == png()
    assert looked == ["rebind.example"] and source.dialled == [(PUBLIC, 80)]


PRIVATE = [
    "127.0.0.1", "127.9.9.9", "0.0.0.0", "10.0.0.1", "172.16.0.1", "192.168.1.1", "169.254.169.254", "100.64.0.1",
    "198.18.0.1", "224.0.0.1", "255.255.255.255", "240.0.0.1", "::1", "::", "fe80::1", "fe80::1%eth0", "fc00::1",
    "fd00:ec2::254", "::ffff:127.0.0.1", "::ffff:10.0.0.1", "64:ff9b::7f00:1", "2002:7f00:1::", "2001:0:1::",
    "ff02::1", "2001:db8::1", "192.0.2.1", "fec0::1", "192.0.0.8", "192.88.99.1", "3fff::1", "5f00::1", "nonsense", "",
]  # fmt: skip


@pytest.mark.parametrize("address", PRIVATE)
def test_private_addresses_are_refused(make, stub, address):
    assert not public(address)
    for addresses in ([address], [PUBLIC, address]):  # one private address is enough
        with pytest.raises(
            KeepsightError, match=r"cannot fetch http://x\.example/a\.png: its host is on a private"
        ):
            make({"x.example": addresses}).media("http://x.example/a.png").read()
    assert not stub.asked


@pytest.mark.parametrize("address", [PUBLIC, "8.8.8.8", "2606:4700::1111"])
def test_public_addresses(address):
    assert public(address)


@pytest.mark.parametrize(
    ("place", "message"),
    [
        ("http://inside.example/secret", "on a private network"),
        ("http://169.254.169.254/latest/meta-data", "on a private network"),
        ("file:///etc/passwd", "no http or https address"),
        ("//user:pass@pictures.example/a.png", "user or password"),
        ("http://pictures.example/to-it", "more than 5 other addresses"),
        ("", "more than 5 other addresses"),
    ],
)
def test_a_redirect_is_under_all_the_rules(make, stub, place, message):
    stub.places["to-it"] = place
    source = make({"inside.example": ["10.0.0.1"], "169.254.169.254": ["169.254.169.254"]})
    with pytest.raises(KeepsightError, match=message):
        source.media("http://pictures.example/to-it").read()
    assert all(address == PUBLIC for address, _ in source.dialled)


def test_a_redirect_to_a_picture_is_followed(make, stub):
    stub.places["to-it"] = "/b.png"
    assert make().media("http://pictures.example/to-it").read() == png()


def test_https_does_not_lead_to_http(make, monkeypatch):
    source = make()
    monkeypatch.setattr(source, "_asked", lambda url, deadline: (302, b"http://pictures.example/a.png"))
    with pytest.raises(KeepsightError, match="leads from https to http"):
        source.media("https://pictures.example/a.png").read()


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("ftp://x.example/a.png", "no http or https address"),
        ("http:///a.png", "no http or https address"),
        ("http://user:s3cretword@x.example/a.png", "has a user or password"),
        ("http://x.example:0/a.png", "is no address"),
        ("http://x.example:99999/a.png", "is no address"),
        ("http://[::1/a.png", "is no address"),
        ("http://x.example/a\r\nHost: y", "is no address"),
        ("http://x.example/a b.png", "is no address"),
    ],
)
def test_addresses_that_are_never_asked(make, url, message):
    with pytest.raises(KeepsightError, match=message) as caught:
        make().media(url)
    assert "s3cretword" not in str(caught.value)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("status", "answered 404"),
        ("page.png", "answered with something that is no picture"),
        ("packed.png", "compressed transfer"),
        ("short.png", "ended too early|IncompleteRead"),
    ],
)
def test_answers_that_are_no_picture_are_not_kept(make, tmp_path, name, message):
    with pytest.raises(KeepsightError, match=message):
        make().media(f"http://pictures.example/{name}?token=s3cretword").read()
    assert not (tmp_path / "cache" / "pictures").exists()


def test_size_and_time_are_capped(make, monkeypatch):
    monkeypatch.setenv("KEEPSIGHT_MAX_DOWNLOAD_BYTES", "1000")
    with pytest.raises(KeepsightError, match="is larger than 1,000 bytes"):
        make().media("http://pictures.example/big.png").read()
    monkeypatch.setenv("KEEPSIGHT_MAX_DOWNLOAD_SECONDS", "1")
    with pytest.raises(KeepsightError, match="took more than 1 seconds"):
        make().media("http://pictures.example/slow.png").read()


def test_no_such_host_and_nobody_there(make):
    source = make()
    source._resolve = lambda host, port: (_ for _ in ()).throw(socket.gaierror())
    with pytest.raises(KeepsightError, match="no such host, or no network"):
        source.media("http://gone.example/a.png").read()
    source = make()
    source._connect = lambda address, port, seconds: (_ for _ in ()).throw(ConnectionRefusedError())
    with pytest.raises(KeepsightError, match="ConnectionRefusedError; download it and give its path"):
        source.media("http://gone.example/a.png").read()


def test_rows_with_addresses_are_fetched_only_when_asked_for(make, tmp_path):
    said = [{"role": "user", "content": "<image>What?"}, {"role": "assistant", "content": "Red."}]
    path = tmp_path / "rows.json"
    import json

    path.write_text(
        json.dumps([{"messages": said, "images": ["http://pictures.example/a.png?key=s3cretword"]}])
    )
    with pytest.raises(KeepsightError, match="remote pictures are off") as caught:
        read_training_rows(path)
    assert "s3cretword" not in str(caught.value)
    (sample,) = read_training_rows(path, remote=make())
    assert decode(sample.media[0]).size == (3, 2) and sample.media[0].where == "http://pictures.example/a.png"
