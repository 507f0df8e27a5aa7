"""The roots of Fairway's errors, split by who can act on them."""


class FairwayError(Exception):
    """Base of all errors that Fairway raises on purpose; the message is for the person who runs it."""


class InvalidValueError(FairwayError, ValueError):
    """A text that should be an address, a port, a name … is not one; the caller knows where it stood."""


class ConfigError(FairwayError):
    """A configuration file or flag is wrong; the message names file, field and value."""


class ObjectError(FairwayError):
    """An API object is wrong; the message names object, field path and value."""


class UnavailableError(FairwayError):
    """The kernel or this process lacks something; the message says what and what to do.

    Ends the command with exit code 5.
    """


class KernelError(FairwayError):
    """The kernel refused a request or lost an answer; whoever keeps the wanted state tries again.

    `errno` is the kernel's own number, named in the message.
    """

    def __init__(self, message: str, errno: int) -> None:
        super().__init__(message)
        self.errno = errno
