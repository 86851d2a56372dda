"""Checkers look at the stores of nodes whenever there is something new in them."""

import random
from types import SimpleNamespace

from coordinator.journaled_store import STORE_NAME
from sim.checkers.tables import StoreChanges
from sim.stores import Database


def test_a_store_is_new_when_it_was_written_or_put_in_place_of_another():
    database = Database(random.Random(1), durable=True)
    changes = StoreChanges(
        SimpleNamespace(store_node=SimpleNamespace(databases={STORE_NAME: database}))
    )
    assert changes.are_new()
    assert not changes.are_new()
    database.connection.execute("CREATE TABLE counts (value)")
    database.connection.execute("INSERT INTO counts VALUES (1)")
    assert changes.are_new()
    older = database.copy()
    database.put_in_place(older)
    database.connection.execute("INSERT INTO counts VALUES (2)")
    assert changes.are_new(), "as many changes as before, of another store"
    assert not changes.are_new()
