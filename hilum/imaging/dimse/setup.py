"""What the settings say of DIMSE, checked before anything listens. The supervisor asks too, so little is imported."""

import ssl
from collections.abc import Mapping

from hilum.core.config import Settings
from hilum.core.errors import Invalid
from hilum.core.supervise import check_loopback
from hilum.imaging.dimse.peers import Place, check_title, parse_peers, parse_sources


def check_settings(settings: Settings) -> Mapping[str, Place | None]:
    """Check what the settings say of DIMSE, and give the known peers.

    Raises
    ------
    Invalid
        A setting is none, or the listener could be reached by others than this machine without an AE list.
    """
    check_title(settings.aet)
    parse_sources(settings.dicom_sources)
    tls_context(settings)
    return check_callers(settings)


def check_callers(settings: Settings) -> Mapping[str, Place | None]:
    """Check that a list of AE titles says who may call where other machines can; gives the known peers.

    Raises
    ------
    Invalid
        There is none, or it is wrong.
    """
    peers = parse_peers(settings.dicom_peers)
    if not peers:
        try:
            check_loopback(settings.dicom_host)
        except Invalid as error:
            raise Invalid(
                f"DICOM would listen on {settings.dicom_host}, where other machines reach it: list the AE titles that "
                "may call in HILUM_DICOM_PEERS, or listen on 127.0.0.1."
            ) from error
    return peers


def tls_context(settings: Settings) -> ssl.SSLContext | None:
    """The TLS that the listener speaks; None for none.

    Raises
    ------
    Invalid
        A certificate or key cannot be used.
    """
    if settings.dicom_tls_certificate is None:
        if settings.dicom_tls_clients:
            raise Invalid("HILUM_DICOM_TLS_CLIENTS needs the listener's own HILUM_DICOM_TLS_CERTIFICATE.")
        return None
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    _load(context, settings)
    if settings.dicom_tls_clients:
        if settings.dicom_tls_ca is None:
            raise Invalid("HILUM_DICOM_TLS_CLIENTS needs HILUM_DICOM_TLS_CA, who signs the clients' certificates.")
        context.verify_mode = ssl.CERT_REQUIRED
    return context


def client_tls(settings: Settings) -> ssl.SSLContext:
    """The TLS that is spoken to peers whose place begins with tls://: they must be who the trusted certificates say.

    Raises
    ------
    Invalid
        A certificate or key cannot be used.
    """
    context = ssl.create_default_context()
    _load(context, settings)
    return context


def _load(context: ssl.SSLContext, settings: Settings) -> None:
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    try:
        if settings.dicom_tls_certificate is not None:
            context.load_cert_chain(settings.dicom_tls_certificate, settings.dicom_tls_key)
        if settings.dicom_tls_ca is not None:
            context.load_verify_locations(settings.dicom_tls_ca)
    except (OSError, ssl.SSLError) as error:
        raise Invalid("A file of HILUM_DICOM_TLS_CERTIFICATE, _KEY or _CA cannot be used as such.") from error
