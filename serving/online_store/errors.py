"""What can be wrong with a stored release."""


class CorruptArtefactError(ValueError):
    """Stored bytes are not what the manifest (or their own check) says: they are not parsed."""


class IncompleteReleaseError(ValueError):
    """A release that lacks a part; it is never made current."""
