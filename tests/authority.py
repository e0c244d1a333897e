"""An authority that issues real certificates, with the `openssl` command."""

import itertools
import ssl
import subprocess
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

CURVE = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes")


@dataclass(frozen=True)
class Issued:
    """A certificate and its key, each in a file of its own."""

    cert: Path
    key: Path

    def config(self, **more: object) -> dict[str, object]:
        """As `server.tls` and `backends.*.tls` name them."""
        return {"cert_file": str(self.cert), "key_file": str(self.key), **more}

    def put(self, cert: Path, key: Path) -> None:
        """Renew the files of another one with this, as a tool for certificates does."""
        for mine, place in ((self.cert, cert), (self.key, key)):
            new = place.with_suffix(".new")
            new.write_bytes(mine.read_bytes())
            new.replace(place)

    @property
    def der(self) -> bytes:
        return ssl.PEM_cert_to_DER_cert(self.cert.read_text())


class Authority:
    """Issues certificates into a folder."""

    def __init__(self, folder: Path, openssl: str, name: str = "ca", *more: str) -> None:
        """`more`: for its own certificate."""
        self.folder, self.name = folder, name
        self.ca, self.key = folder / f"{name}.pem", folder / f"{name}.key"
        self._openssl = openssl
        self._numbers = itertools.count(1)
        self._run("req", "-x509", *CURVE, "-keyout", str(self.key), "-out", str(self.ca), "-days", "9",
                  "-subj", f"/CN={name}", "-addext", "keyUsage=critical,keyCertSign,digitalSignature",
                  *more)  # fmt: skip

    def issue(self, *names: str, subject: str = "/CN=router", days: int = 2, key: tuple[str, ...] = CURVE) -> Issued:
        """Issue a certificate for these names (`localhost` and 127.0.0.1 if none); `days` below 0: it has ended."""
        stem = self.folder / f"{self.name}-{next(self._numbers)}"
        issued = Issued(stem.with_suffix(".pem"), stem.with_suffix(".key"))
        request, extension = str(stem.with_suffix(".csr")), stem.with_suffix(".ext")
        alternatives = ",".join(f"DNS:{name}" for name in names) or "DNS:localhost,IP:127.0.0.1"
        extension.write_text(f"subjectAltName={alternatives}\nextendedKeyUsage=serverAuth,clientAuth\n")
        self._run("req", *key, "-keyout", str(issued.key), "-out", request, "-subj", subject, "-utf8")
        self._run("x509", "-req", "-in", request, "-CA", str(self.ca), "-CAkey", str(self.key), "-CAcreateserial",
                  *self._lasting(days), "-extfile", str(extension), "-out", str(issued.cert))  # fmt: skip
        return issued

    def _lasting(self, days: int) -> list[str]:
        """Return the options for a certificate of so many days from now; OpenSSL from 3.4 on takes none below 0."""
        told = subprocess.run([self._openssl, "x509", "-help"], capture_output=True, text=True, check=True)
        if days > 0 or "-not_after" not in told.stdout + told.stderr:
            return ["-days", str(days)]
        end = datetime.now(UTC) + timedelta(days=days)
        begin = end - timedelta(days=1)
        return ["-not_before", f"{begin:%Y%m%d%H%M%SZ}", "-not_after", f"{end:%Y%m%d%H%M%SZ}"]

    def trusting(self, shown: Issued | None = None, **versions: ssl.TLSVersion) -> ssl.SSLContext:
        """A client's context that trusts this authority alone, and may show a certificate."""
        context = ssl.create_default_context(cafile=str(self.ca))
        for name, version in versions.items():
            setattr(context, name, version)
        if shown is not None:
            context.load_cert_chain(shown.cert, shown.key)
        return context

    def _run(self, *words: str) -> None:
        subprocess.run([self._openssl, *words], cwd=self.folder, check=True, capture_output=True)
