"""Promises of messages that are keys: an account is in the shard of its user, wherever a request has it."""

from __future__ import annotations

import pytest

from shoudan.pay.v1 import ledger_service_pb2 as pb
from shoudan.pay.v1 import setup_service_pb2 as setup_pb
from shoudan_kit.db.shard_keys import shard_of_key
from shoudan_kit.rpc.message_keys import EVERY, MessageKey, ShardsDiffer

GROUP = pb.PostEntriesRequest.Group
POSTINGS = MessageKey.of(GROUP.DESCRIPTOR, "postings.account")
ACCOUNT = MessageKey.of(pb.ListRecordsRequest.DESCRIPTOR, "account")


def group(*eids: str, groups: str = "g") -> pb.PostEntriesRequest.Group:
    keys = [pb.AccountKey(ident="oms", groups=groups, eid=one) for one in eids]
    return GROUP(postings=[pb.Posting(account=one) for one in keys])


def test_a_group_is_in_the_shard_of_its_accounts_and_refused_when_they_differ():
    assert POSTINGS.shard(group("a", "a"), 16) == shard_of_key(["oms", "a"], 16)
    assert POSTINGS.shard(group(), 16) == 0
    other = next(f"b{n}" for n in range(99) if shard_of_key(["oms", f"b{n}"], 2) == 1)
    one = next(f"b{n}" for n in range(99) if shard_of_key(["oms", f"b{n}"], 2) == 0)
    with pytest.raises(ShardsDiffer) as refused:
        POSTINGS.shard(group(one, other), 2)
    assert (refused.value.what, refused.value.shards) == ("postings.account", 2)
    assert POSTINGS.shard(group(one, other, groups="member"), 2) == 0


@pytest.mark.parametrize(
    ("given", "wanted"),
    [
        ({"ident": "oms", "groups": "g", "eid": "a"}, shard_of_key(["oms", "a"], 16)),
        ({"ident": "oms", "groups": "g"}, EVERY),
        ({"ident": "oms", "eid": "a"}, EVERY),
        ({}, EVERY),
        ({"groups": "member"}, 0),
        ({"ident": "oms", "groups": "platform", "eid": "g"}, EVERY),
    ],
)
def test_a_key_of_a_list_that_is_not_whole_may_be_anywhere(given, wanted):
    request = pb.ListRecordsRequest(account=pb.AccountKey(**given))
    assert ACCOUNT.shard(request, 16, whole=True) == wanted


@pytest.mark.parametrize(
    ("message", "path"),
    [(setup_pb.SetupTemplate, "terms"), (pb.PostRequest, "posting"), (pb.Account, "name")],
)
def test_a_message_that_does_not_say_how_it_is_a_key_is_none(message, path):
    with pytest.raises(ValueError, match="does not say how"):
        MessageKey.of(message.DESCRIPTOR, path)
