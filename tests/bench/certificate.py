"""An authority and a server's certificate for an address, made by openssl when a case first asks for them."""

import atexit
import functools
import os
import pathlib
import shutil
import subprocess
import tempfile

# What a gateway would have today, and the cheapest for both brokers' handshakes.
NEW_KEY = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"]


@functools.cache
def files(address="127.0.0.1"):
    """Paths of the authority, the certificate and its key; any user may read them, and they go when this process ends."""
    folder = pathlib.Path(tempfile.mkdtemp(prefix="nlmqtt-bench-tls-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    # As root mosquitto changes to a user of its own, and opens them as that one.
    folder.chmod(0o755)
    authority, certificate, key, request = (str(folder / name) for name in ("ca.pem", "cert.pem", "key.pem", "request.pem"))
    extensions = folder / "extensions"
    extensions.write_text(f"subjectAltName=IP:{address}\n")
    for command in (["req", "-x509", *NEW_KEY, "-keyout", str(folder / "ca.key"), "-out", authority, "-subj", "/CN=bench authority", "-days", "2"],
                    ["req", *NEW_KEY, "-keyout", key, "-out", request, "-subj", "/CN=bench"],
                    ["x509", "-req", "-in", request, "-CA", authority, "-CAkey", str(folder / "ca.key"), "-CAcreateserial", "-days", "2",
                     "-extfile", str(extensions), "-out", certificate]):
        subprocess.run(["openssl", *command], check=True, capture_output=True)
    os.chmod(key, 0o644)
    return authority, certificate, key
