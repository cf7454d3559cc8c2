"""The proxies of docs/operations, in front of Corkage, each as a process of its own."""

import os
import random
import re
import shutil
import socket
import subprocess
import tempfile
from contextlib import contextmanager, suppress
from pathlib import Path

from harness import until
from programs import program
from repository import ROOT

OPERATIONS = ROOT / "docs/operations"
OURS, PRODUCTS = "billing.example.com", "app.example.com"


def free_port():
    """Return a free port, of none that the system gives to whoever connects: that could take it in between."""
    for port in random.sample(range(20_000, 32_000), 100):
        with socket.socket() as sock, suppress(OSError):
            sock.bind(("", port))
            return port
    raise OSError("no port is free")


def certificate_in(folder):
    """Make a certificate for both addresses, and its key; return their paths."""
    command = [program("openssl", "openssl"), *"req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=localhost".split()]
    command += ["-addext", "subjectAltName=DNS:localhost,DNS:localhost.localdomain"]
    command += ["-keyout", "key.pem", "-out", "cert.pem"]
    subprocess.run(command, cwd=folder, check=True, capture_output=True)
    return folder / "cert.pem", folder / "key.pem"


def with_caddy(folder, port, corkage, product, certificate):
    """Caddy's file of the documents: addresses, ports and certificates are this machine's."""
    text = (OPERATIONS / "Caddyfile").read_text()
    tls = "\ttls {} {}\n".format(*certificate)
    for name, here in ((OURS, "localhost"), (PRODUCTS, "localhost.localdomain")):
        text = text.replace(f"\n{name} {{\n", f"\nhttps://{here}:{port} {{\n{tls}")
    text = text.replace("127.0.0.1:8080", corkage).replace("127.0.0.1:3000", product)
    options = f"{{\n\tadmin off\n\tauto_https disable_redirects\n\tstorage file_system {folder}\n}}\n"
    (folder / "Caddyfile").write_text(options + text)
    return [program("caddy", "caddy"), "run", "--adapter", "caddyfile", "--config", folder / "Caddyfile"]


def with_nginx(folder, port, corkage, product, certificate):
    """nginx's file of the documents, in the least configuration that it runs in, with what they say of that."""
    text = (OPERATIONS / "nginx.conf").read_text()
    limits = re.search(r"```nginx\n(.+?)```", OPERATIONS.with_suffix(".md").read_text(), re.DOTALL)[1]
    text = text.replace("listen 443 ssl;", f"listen 127.0.0.1:{port} ssl;")
    for name, here in ((OURS, "localhost"), (PRODUCTS, "localhost.localdomain")):
        text = text.replace(f"server_name {name};", f"server_name {here};")
        text = text.replace(f"/etc/letsencrypt/live/{name}/fullchain.pem", str(certificate[0]))
        text = text.replace(f"/etc/letsencrypt/live/{name}/privkey.pem", str(certificate[1]))
    text = text.replace("127.0.0.1:8080", corkage).replace("127.0.0.1:3000", product)
    paths = "".join(f"{each}_temp_path {folder}/{each};\n" for each in "client_body proxy fastcgi uwsgi scgi".split())
    (folder / "nginx.conf").write_text(
        f"daemon off;\npid {folder}/pid;\nerror_log stderr;\n{limits}http {{\naccess_log off;\n{paths}{text}}}\n"
    )
    return [program("nginx", "nginx"), "-c", folder / "nginx.conf", "-e", "stderr"]


def is_listening(port):
    with socket.socket() as sock:
        return sock.connect_ex(("127.0.0.1", port)) == 0


@contextmanager
def in_front(proxy, port, corkage, product, certificate):
    """Run a proxy (with_caddy or with_nginx) at a port, in front of Corkage and of a product; yield its process."""
    folder = Path(tempfile.mkdtemp())  # a worker of nginx's is another user, who may not enter pytest's own
    folder.chmod(0o755)
    with (folder / "log").open("wb") as log:
        command = proxy(folder, port, corkage, product, certificate)
        process = subprocess.Popen(command, stderr=log, stdout=log, env=os.environ | {"HOME": str(folder)})
    try:
        until(lambda: is_listening(port) or process.poll() is not None)
        assert process.poll() is None, (folder / "log").read_text()
        yield process
    finally:
        process.terminate()
        process.wait(30)
        shutil.rmtree(folder)
