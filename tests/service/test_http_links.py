"""The links in the OpenAPI document lead from answers to existing operations, with every value that those need."""

from typing import Any

import msgspec

from greenroom.server import openapi
from greenroom.server.routes import OPERATIONS

BY_NAME = {call.name: call for call in OPERATIONS}


def links_by_operation(name: str) -> dict[str, Any]:
    """The links of an operation's answer, by the name of the operation that they lead to."""
    return {link["operationId"]: link for link in openapi.build_links(BY_NAME[name], OPERATIONS).values()}


def test_link_tables_name_operations() -> None:
    assert openapi.PATH_VALUES.keys() | openapi.BODY_VALUES.keys() <= BY_NAME.keys()
    assert all(links_by_operation(name) for name in openapi.PATH_VALUES)


def test_link_parameters_and_body_fields() -> None:
    for name in openapi.PATH_VALUES:
        for next_operation, link in links_by_operation(name).items():
            assert openapi.parameter_names(BY_NAME[next_operation]) == link["parameters"].keys()
            assert link.get("requestBody", {}).keys() <= set(
                getattr(BY_NAME[next_operation].body, "__struct_fields__", ())
            )


def test_links_follow_a_request() -> None:
    assert "join" in links_by_operation("create_room")
    assert {"sender": "user", "to": "$request.body#/roles/0"} == links_by_operation("create_room")["send_message"][
        "requestBody"
    ]
    assert "claim_task" in links_by_operation("join")
    assert {"connection_id", "attempt"} == links_by_operation("claim_task")["complete_task"]["requestBody"].keys()
    assert "cancel_task" in links_by_operation("send_message")
    assert "queue_task" in links_by_operation("add_to_backlog")


def test_unrelated_operations_have_no_links() -> None:
    assert "list_messages" not in links_by_operation("claim_task")
    assert {} == openapi.build_links(BY_NAME["list_rooms"], OPERATIONS)


def test_openapi_document_has_links() -> None:
    document = msgspec.json.decode(openapi.build_document(OPERATIONS))
    answer = document["paths"]["/api/v1/rooms"]["post"]["responses"]["201"]
    assert "create_room_to_join" in answer["links"]
