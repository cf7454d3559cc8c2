"""The files of docs/operations/, run: two proxies in front, the unit's settings, and what the image is made of."""

import ast
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from contextlib import contextmanager
from dataclasses import replace
from ipaddress import ip_network
from pathlib import Path

import pytest
import requests
import stripe
from buying import bearer, token
from harness import ADMIN_TOKEN, WEBHOOK_SECRET, running, serving, until
from programs import program
from proxies import OPERATIONS, free_port, in_front, is_listening, with_caddy, with_nginx
from repository import ROOT

from corkage.models import StripeEvent

pytestmark = [pytest.mark.slow, pytest.mark.one_engine("sqlite", "what stands in front of either engine")]

A_USER = 23_457  # of nobody on the machine


class FromAddress(requests.adapters.HTTPAdapter):
    """Connects from an address of this machine's many, 127.0.0.1 to 127.255.255.254."""

    def __init__(self, address):
        self.address = address
        super().__init__()

    def init_poolmanager(self, *rest, **options):
        super().init_poolmanager(*rest, **options, source_address=(self.address, 0))


class Front:
    """Corkage behind a proxy, as the world sees it."""

    def __init__(self, base, app, simulator, certificate):
        self.base, self.app, self.simulator = base, app, simulator
        self.session = requests.Session()
        self.session.trust_env = False  # REQUESTS_CA_BUNDLE would win over:
        self.session.verify = str(certificate)
        self.origin = re.match(r"https://[^/]+", base)[0]

    def come_from(self, address):
        """Have all that follows come from another address of this machine."""
        self.session.mount("https://", FromAddress(address))

    def get(self, path, **headers):
        return self.session.get(f"{self.base}{path}", headers=headers, timeout=30, allow_redirects=False)

    def post(self, path, data, **headers):
        return self.session.post(f"{self.base}{path}", data, headers=headers, timeout=30, allow_redirects=False)


@pytest.fixture(params=[with_caddy, with_nginx], ids=["Caddy", "nginx"])
def proxy(request):
    return request.param


@pytest.fixture(params=["", "/billing"], ids=["own address", "path"])
def front(request, proxy, config, simulator, certificate, shop, monkeypatch):
    """The proxy as a process of its own, in front of Corkage and of a product."""
    port = free_port()
    resolve = socket.getaddrinfo
    monkeypatch.setattr(
        socket, "getaddrinfo", lambda host, *rest, **more: resolve(host.replace(".localdomain", ""), *rest, **more)
    )
    base = f"https://localhost{'.localdomain' * bool(request.param)}:{port}{request.param}"

    def product(environ, start_response):
        start_response("200 OK", [("Content-Type", "text/plain")])
        return [f"the product at {environ['PATH_INFO']}".encode()]

    settings = replace(config, billing_url=base, admin_token=ADMIN_TOKEN, frontend_urls=("https://app.example.com",))
    settings = replace(settings, trusted_proxies=(ip_network("127.0.0.1"),))  # as the documents say
    with serving(product) as at, running(settings) as app:
        addresses = [each.removeprefix("http://") for each in (app.url, at)]
        with in_front(proxy, port, *addresses, certificate):
            yield Front(base, app, simulator, certificate[0])


def test_pages_and_what_they_link_to_are_there(front):
    page = front.get("/pricing", Accept="text/html")
    assert page.status_code == 200

    links = re.findall(r'(?:href|action|src)="([^"#]+)"', page.text)
    ours = [each for each in links if each.startswith(("/", front.base)) or "://" not in each]
    assert any("style.css" in each for each in ours)
    for each in ours:
        url = requests.compat.urljoin(page.url, each)
        assert url.startswith(front.base), each
        assert front.session.get(url, timeout=30, allow_redirects=False).status_code in (200, 303, 401, 405), each


def test_the_product_beside_it_is_reached_and_nothing_of_it_is_ours(front):
    if front.base != front.origin:
        assert front.session.get(f"{front.origin}/notes", timeout=30).text == "the product at /notes"
        assert front.session.get(f"{front.origin}/billingx", timeout=30).text == "the product at /billingx"


def test_a_form_of_our_page_sells_and_one_of_another_site_does_not(front):
    signed_in = bearer(token("ann", "ann@example.com")) | {"Accept": "text/html"}
    refused = front.post("/checkout", {"plan": "pro"}, **signed_in, Origin="https://evil.example")
    assert refused.status_code == 403

    sold = front.post("/checkout", {"plan": "pro"}, **signed_in, Origin=front.origin)

    assert sold.status_code == 303
    assert sold.headers["Location"].startswith(front.simulator.url)
    (session,) = front.simulator.world.all("checkout.session")
    assert session["success_url"].startswith(f"{front.base}/return")


def signed(body):
    return stripe.WebhookSignature.generate_signature_header(body.decode(), WEBHOOK_SECRET, int(time.time()))


def test_a_webhook_arrives_byte_for_byte(front, event):
    body = json.dumps(json.loads(str(event)) | {"id": "evt_räw"}, ensure_ascii=False, indent=3).encode() + b"\n \r\n"

    assert front.post("/webhook", body, **{"Stripe-Signature": signed(body)}).status_code == 200
    assert front.post("/webhook", body[:-1], **{"Stripe-Signature": signed(body)}).status_code == 400

    assert [row.id for row in StripeEvent.select()] == ["evt_räw"]


def test_a_large_webhook_is_not_refused_by_the_proxy(front, event):
    body = json.dumps(json.loads(str(event)) | {"padding": "x" * 600_000}).encode()

    assert front.post("/webhook", body, **{"Stripe-Signature": signed(body)}).status_code == 200


def test_the_operator_signs_in_and_stays_signed_in(front):
    asked = front.get("/admin", Accept="text/html")
    assert "<form" in asked.text
    form = {"do": "sign_in", "token": ADMIN_TOKEN}

    assert front.post("/admin", form, Accept="text/html", Origin="https://evil.example").status_code == 403
    assert front.post("/admin", form, Accept="text/html", Origin=front.origin).status_code == 303

    page = front.get("/admin", Accept="text/html")
    assert page.status_code == 200
    assert 'name="token"' not in page.text


def test_wrong_tokens_count_by_the_visitors_address_whatever_the_visitor_says_it_is(front):
    def guess(**headers):
        form = {"do": "sign_in", "token": "a guess"}
        return front.post("/admin", form, Accept="text/html", Origin=front.origin, **headers).status_code

    front.come_from("127.0.0.2")
    guesses = [guess(**{"X-Forwarded-For": f"192.0.2.{number}"}) for number in range(6)]
    front.come_from("127.0.0.3")
    others = [guess(**{"X-Forwarded-For": "127.0.0.2"}), guess(), guess(X_Forwarded_For="127.0.0.2")]

    assert guesses == [401] * 5 + [429]
    assert others == [401] * 3
    assert set(front.app.billing.service.sign_in_limit._tried) == {"127.0.0.2", "127.0.0.3"}


def test_access_and_health_answer(front):
    answer = front.get("/access", **bearer(token("ann")))

    assert (answer.status_code, answer.json()["user_id"]) == (200, "ann")
    assert front.get("/health").json()["status"] in ("ok", "well")


# The unit


def unit(name="corkage.service"):
    return (OPERATIONS / name).read_text()


@pytest.mark.parametrize("name", ["corkage.service", "corkage-edge.service"])
def test_a_unit_is_understood_by_systemd(tmp_path, name):
    analyze = program("systemd-analyze", "systemd")
    (tmp_path / name).write_text(re.sub(r"^ExecStart=\S+", "ExecStart=/bin/true", unit(name), flags=re.MULTILINE))

    said = subprocess.run([analyze, "verify", tmp_path / name], capture_output=True, text=True)

    assert (said.returncode, said.stdout, said.stderr) == (0, "", "")


def test_the_unit_leaves_little_exposed(tmp_path):
    analyze = program("systemd-analyze", "systemd")
    (tmp_path / "corkage.service").write_text(unit())
    command = [analyze, "security", "--offline=true", "--no-pager", "--threshold=20", tmp_path / "corkage.service"]

    said = subprocess.run(command, capture_output=True, text=True)

    assert said.returncode == 0, said.stdout  # at most 2.0 of 10
    assert "OK" in said.stdout


# What an image is made of


def steps():
    """The commands of the Dockerfile: RUN as the shell gets them, CMD as a list."""
    text = (OPERATIONS / "Dockerfile").read_text()
    return re.findall(r"^RUN (.+)$", text, re.MULTILINE), json.loads(re.search(r"^CMD (.+)$", text, re.MULTILINE)[1])


@contextmanager
def stranger():
    """A folder of a user without rights, and what makes a process that user's."""
    folder = Path(tempfile.mkdtemp())
    folder.chmod(0o755)
    as_user = {}
    if os.geteuid() == 0:
        os.chown(folder, A_USER, A_USER)
        as_user = {"user": A_USER, "group": A_USER, "extra_groups": []}
    yield folder, as_user
    shutil.rmtree(folder)


def test_the_image_s_steps_install_and_serve_as_a_user_without_rights(environ, tmp_path):
    """The image itself is not built here. Its paths are in a folder instead."""
    (install, *_), serve = steps()
    with stranger() as (folder, as_user):
        clone = copy_of_the_tree(folder / "clone")
        command = install.split(" && ")[0].replace("/clone", str(clone)).replace("/opt/", f"{folder}/opt/")
        plain = {"PATH": os.environ["PATH"], "HOME": str(folder)} | settings_of_pip()
        done = subprocess.run(
            ["sh", "-c", command], cwd=folder, env=plain, capture_output=True, text=True, timeout=500, **as_user
        )
        assert done.returncode == 0, done.stderr
        assert not (clone / "build").exists()

        settings = {name: value for name, value in environ.items() if name.startswith(("BILLING_", "STRIPE_", "FRONT"))}
        settings |= {"BILLING_DATABASE": f"{folder}/corkage.db", "BILLING_PLANS": f"{folder}/plans.toml"}
        shutil.copy(tmp_path / "plans.toml", folder / "plans.toml")
        serve = [each.replace("/opt/", f"{folder}/opt/").replace("0.0.0.0", "127.0.0.1") for each in serve]
        serve[serve.index("8080")] = port = str(free_port())
        process = subprocess.Popen(serve, cwd=folder, env=settings, stderr=subprocess.PIPE, umask=0o027, **as_user)
        try:
            until(lambda: is_listening(int(port)) or process.poll() is not None)
            assert requests.get(f"http://127.0.0.1:{port}/health", timeout=30).status_code == 200
        finally:
            process.send_signal(signal.SIGTERM)
            said = process.communicate(timeout=60)[1].decode()
        assert (process.returncode, "stopped" in said) == (0, True), said
        assert (folder / "corkage.db").stat().st_mode & 0o777 == 0o640


def settings_of_pip():
    """What says from where packages come, for a user who may not read the configuration of whoever runs the tests."""
    said = subprocess.run([sys.executable, "-m", "pip", "config", "list"], capture_output=True, text=True).stdout
    listed = [re.fullmatch(r"(?:global|install)\.([a-z-]+)=(.+)", line) for line in said.splitlines()]
    found = {f"PIP_{each[1].upper().replace('-', '_')}": ast.literal_eval(each[2]) for each in listed if each}
    own = {name: value for name, value in os.environ.items() if name.startswith(("PIP_", "SSL_", "HTTPS_"))}
    return {name: " ".join(value.split()) for name, value in found.items()} | own


def copy_of_the_tree(folder):
    listed = subprocess.run(["git", "ls-files", "-co", "--exclude-standard"], cwd=ROOT, capture_output=True, text=True)
    for name in listed.stdout.split():
        if (ROOT / name).exists() and not name.startswith(("tests/", "bench/")):
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, folder / name)
    return folder


def test_each_file_is_named_in_the_documents_and_each_named_is_there():
    text = "".join((ROOT / "docs" / name).read_text() for name in ("operations.md", "edge.md"))
    files = {path.name for path in OPERATIONS.iterdir()} - {"Dockerfile.dockerignore"}

    assert set(re.findall(r"\(operations/([^)#]+)\)", text)) | {"corkage-edge.service"} == files


def test_compose_and_the_unit_name_what_is_there():
    compose = (OPERATIONS / "compose.yaml").read_text()
    _, serve = steps()

    assert "dockerfile: docs/operations/Dockerfile" in compose
    assert re.search(r"^ExecStart=(.+)", unit(), re.MULTILINE)[1] == " ".join(serve[:2])
    for line in (ROOT / "docs/operations/Dockerfile").read_text().splitlines():
        if line.startswith("ENV"):
            for name, value in re.findall(r"(BILLING_\w+)=(\S+)", line):
                assert f"{name}: {value}" in compose
