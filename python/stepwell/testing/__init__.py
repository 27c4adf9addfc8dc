"""For those who test: the contract of a store as checks, with nothing but the standard library.

`store_suite(factory)` runs them all on a store of your own; `store_checks()` gives them one by one, for instance to
`pytest.mark.parametrize`. `factory()` gives an empty `stepwell.store.StoreSource`, another one each time.
"""

from .checking import Check, Factory, checks

__all__ = ["Check", "Factory", "store_checks", "store_suite"]


def store_checks() -> dict[str, Check]:
    """Every check of the contract by its name: `check(factory)` raises `AssertionError` where a store breaks it.

    Each is independent of the others, and what it opens it closes. All together take a few seconds.
    """
    # They are listed when their modules are imported.
    from . import answering, claiming, delivering, keeping, listing, purging, separating, waiting, writing  # noqa: F401

    return checks()


def store_suite(factory: Factory) -> None:
    """Runs every check of the contract on stores that `factory` makes.

    Raises `AssertionError` at the first one that fails: its message begins with the name of the check, its cause is
    what was found.
    """
    for check in store_checks().values():
        check(factory)
