"""The errors that a person may meet. Each carries one sentence that names the thing and the way out; the doors
(``hilum.app`` and ``hilum.cli``) turn them into a problem+json answer or an exit code, nothing else does."""


class HilumError(Exception):
    """Something went wrong that a sentence can explain."""

    status = 500
    title = "Something went wrong"


class Invalid(HilumError):
    """What was asked for cannot be understood or is not allowed as it stands."""

    status = 422
    title = "The request is not valid"


class NotFound(HilumError):
    """The thing that was named does not exist, or may not be seen."""

    status = 404
    title = "Not found"


class Gone(HilumError):
    """The thing that was named existed and has been deleted."""

    status = 410
    title = "Deleted"


class Conflict(HilumError):
    """The request contradicts what is already there."""

    status = 409
    title = "Conflict"


class TooLarge(HilumError):
    """What was sent is over a limit that a setting names."""

    status = 413
    title = "Too large"


class Unsupported(HilumError):
    """The media type of what was sent cannot be taken."""

    status = 415
    title = "Unsupported media type"


class NotAcceptable(HilumError):
    """None of the media types that the client accepts can be given."""

    status = 406
    title = "Not acceptable"


class OutOfSpace(HilumError):
    """The disk or the quota is full; nothing of the request was kept."""

    status = 507
    title = "Out of space"


class Unavailable(HilumError):
    """A part that is needed (database, objects) cannot be reached now."""

    status = 503
    title = "Not available now"


class InUse(HilumError):
    """Another process holds what this one wants for itself alone."""

    status = 409
    title = "Already in use"


class PreconditionFailed(HilumError):
    """What was to be changed is no longer what the client has seen."""

    status = 412
    title = "Changed in the meantime"
