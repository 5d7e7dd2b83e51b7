"""The links in the OpenAPI document lead from answers to existing operations, with every value that those need."""

from typing import Any

import msgspec

from greenroom.server import links, openapi
from greenroom.server.routes import OPERATIONS

BY_NAME = {call.name: call for call in OPERATIONS}


def linked(name: str) -> dict[str, Any]:
    """The links of an operation's answer, by the name of the operation that they lead to."""
    return {link["operationId"]: link for link in links.links_from(BY_NAME[name], OPERATIONS).values()}


def test_the_tables_name_calls_that_are_there() -> None:
    assert links.GIVES.keys() | links.TELLS.keys() <= BY_NAME.keys()
    assert all(linked(name) for name in links.GIVES)


def test_each_link_brings_every_parameter_and_no_unknown_field() -> None:
    for name in links.GIVES:
        for following, link in linked(name).items():
            assert links.parameters(BY_NAME[following]) == link["parameters"].keys()
            assert link.get("requestBody", {}).keys() <= set(getattr(BY_NAME[following].body, "__struct_fields__", ()))


def test_a_request_can_be_followed_from_its_room_to_its_end() -> None:
    assert "join" in linked("create_room")
    assert {"sender": "user", "to": "$request.body#/roles/0"} == linked("create_room")["send_message"]["requestBody"]
    assert "claim_task" in linked("join")
    assert {"connection_id", "attempt"} == linked("claim_task")["complete_task"]["requestBody"].keys()
    assert "cancel_task" in linked("send_message")
    assert "queue_task" in linked("add_to_backlog")


def test_what_is_not_about_the_answer_is_not_linked() -> None:
    assert "list_messages" not in linked("claim_task")
    assert {} == links.links_from(BY_NAME["list_rooms"], OPERATIONS)


def test_the_document_has_them() -> None:
    told = msgspec.json.decode(openapi.document(OPERATIONS))
    answer = told["paths"]["/api/v1/rooms"]["post"]["responses"]["201"]
    assert "create_room_to_join" in answer["links"]
