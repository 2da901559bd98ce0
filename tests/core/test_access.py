"""Who asks is what a proxy that is believed says, and nobody else."""

import pytest

from hilum.core.access import LOCAL, Caller, note_caller
from hilum.core.forwarded import BadForwarding


def asked(*fields: tuple[str, str], believed: bool = True) -> Caller:
    headers = [(name.encode(), value.encode()) for name, value in fields]
    return note_caller({"type": "http", "headers": headers}, believed=believed)


def test_a_proxy_that_is_believed_names_people_and_roles() -> None:
    said = asked(("x-forwarded-user", "Zoë Researcher"), ("x-hilum-role", "researcher"))
    assert said == Caller("Zoë Researcher", "researcher")
    assert asked() == LOCAL
    assert asked(("x-forwarded-user", "someone")) == Caller("someone", "admin")


def test_nobody_else_does() -> None:
    assert asked(("x-forwarded-user", "me"), ("x-hilum-role", "researcher"), believed=False) == LOCAL


def test_of_several_values_the_nearest_proxy_counts() -> None:
    assert asked(("x-hilum-role", "admin"), ("x-hilum-role", "viewer")).role == "viewer"


@pytest.mark.parametrize(
    "field", [("x-hilum-role", "root"), ("x-forwarded-user", "a\x07b"), ("x-forwarded-user", "x" * 300)]
)
def test_what_is_no_name_and_no_role_is_refused(field: tuple[str, str]) -> None:
    with pytest.raises(BadForwarding):
        asked(field)
