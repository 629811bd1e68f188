"""TLS to Temporal."""

from pathlib import Path

from temporalio.service import TLSConfig

from configuration.tls import TlsFiles


def tls_config(files: TlsFiles | None) -> TLSConfig | bool:
    """What Temporal's client takes as `tls`. Reads the files; raises OSError if one cannot be read."""
    if files is None:
        return False
    return TLSConfig(
        server_root_ca_cert=_content(files.ca_file),
        domain=files.server_name,
        client_cert=_content(files.cert_file),
        client_private_key=_content(files.key_file),
    )


def _content(file: Path | None) -> bytes | None:
    return None if file is None else file.read_bytes()
