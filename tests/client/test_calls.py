"""How a REST call finds the leader, repeats, and ends: the flows, without a network."""

from __future__ import annotations

from decimal import Decimal

import msgspec
import pytest

from api.client import errors
from api.client.models import Cancel, Modify, NewOrder
from api.errors import CATALOGUE
from tests.client.talk import BROKEN, FULL_ORDER, ORDER, REFUSED, A, B, C, Reply, Talk, failure, not_leader, success

ORDER_OF_ONE = NewOrder("ACC_00000001", "SHFE.cu2701", "BUY", "OPEN", 1, Decimal("70000.5"))


def test_an_order_is_sent_with_its_exact_price_and_an_id_of_the_client():
    talk = Talk()
    sent = talk.start(talk.session.submit(ORDER_OF_ONE, None))
    assert (sent.method, sent.url) == ("POST", f"{A}/api/order/submit")
    assert b'"price":70000.5' in sent.body and b'"client_order_id":"id-1"' in sent.body
    assert sent.headers["authorization"] == "Bearer token-1"
    result = talk.result(success(ORDER | {"average_price": 70000.1}))
    assert result.receipt.log_index == 7
    assert result.average_price == Decimal("70000.1")


def test_an_order_keeps_the_id_that_the_caller_gave():
    talk = Talk()
    order = msgspec.structs.replace(ORDER_OF_ONE, client_order_id="mine")
    assert b'"client_order_id":"mine"' in talk.start(talk.session.submit(order, None)).body
    assert talk.ids == 0


def test_a_follower_sends_the_call_to_the_leader_with_the_same_bytes():
    talk = Talk()
    first = talk.start(talk.session.submit(ORDER_OF_ONE, None))
    second = talk.give(not_leader(C))
    assert second.url == f"{C}/api/order/submit"
    assert second.body == first.body
    talk.result(success(ORDER))
    assert talk.route.current == C


def test_a_leader_that_is_not_configured_is_followed_by_the_location_header_too():
    talk = Talk()
    talk.start(talk.session.submit(ORDER_OF_ONE, None))
    reply = Reply(421, {"location": "http://d:4/api/order/submit"}, b"misdirected")
    assert talk.give(reply).url == "http://d:4/api/order/submit"


def test_without_a_known_leader_the_next_node_is_asked():
    talk = Talk()
    talk.start(talk.session.submit(ORDER_OF_ONE, None))
    assert talk.give(not_leader(None)).url.startswith(B)
    assert 0 < sum(talk.pauses) <= 0.2


def test_a_refused_connection_goes_to_the_next_node_at_once():
    talk = Talk()
    talk.start(talk.session.submit(ORDER_OF_ONE, None))
    assert talk.give(REFUSED).url.startswith(B)
    assert talk.give(REFUSED).url.startswith(C)
    assert sum(talk.pauses) == 0
    assert talk.give(REFUSED).url.startswith(A)
    assert sum(talk.pauses) > 0


def test_two_nodes_that_name_each_other_do_not_spin_the_client():
    talk = Talk((A, B))
    talk.start(talk.session.submit(ORDER_OF_ONE, None))
    for _ in range(20):
        talk.give(not_leader(B))
        talk.give(not_leader(A))
    assert sum(talk.pauses) > 1
    assert max(talk.pauses) <= 0.2


def test_nothing_reachable_ends_as_unavailable_at_the_deadline():
    talk = Talk(timeout_s=3)
    talk.start(talk.session.submit(ORDER_OF_ONE, None))
    with pytest.raises(errors.Unavailable, match="refused"):
        while True:
            talk.give(REFUSED)
    assert 2.5 < talk.time.now < 3.5


def test_a_lost_answer_is_repeated_with_the_same_id_and_the_first_result_comes_back():
    talk = Talk()
    first = talk.start(talk.session.submit(ORDER_OF_ONE, None))
    second = talk.give(BROKEN)
    assert second.body == first.body
    assert talk.result(success(ORDER | {"repeated": True})).repeated


def test_a_lost_answer_that_cannot_be_repeated_in_time_ends_as_unknown():
    talk = Talk(timeout_s=1)
    talk.start(talk.session.submit(ORDER_OF_ONE, None))
    talk.give(BROKEN)
    with pytest.raises(errors.OutcomeUnknown, match="id-1"):
        while True:
            talk.give(REFUSED)


def test_a_node_that_does_not_know_the_outcome_is_asked_again_with_the_same_id():
    talk = Talk()
    first = talk.start(talk.session.submit(ORDER_OF_ONE, None))
    assert talk.give(failure(503, 7003, outcome="unknown", retry="same_id")).body == first.body


def test_a_read_that_got_no_answer_ends_as_unavailable_not_unknown():
    talk = Talk(timeout_s=1)
    talk.start(talk.session.order("O0000000001", None))
    with pytest.raises(errors.Unavailable):
        while True:
            talk.give(BROKEN)


def test_no_majority_is_repeated_elsewhere_until_the_deadline():
    talk = Talk(timeout_s=2)
    talk.start(talk.session.submit(ORDER_OF_ONE, None))
    with pytest.raises(errors.Unavailable, match=f"{A}: message 7002.*{B}: refused") as caught:
        while True:
            talk.give(failure(503, 7002, retry="after_ms", retry_after_ms=500))
            talk.give(REFUSED)
            talk.give(REFUSED)
    assert caught.value.code == 7002
    assert max(talk.pauses) <= 0.2


def test_an_overloaded_leader_is_asked_again_and_not_left():
    talk = Talk()
    talk.start(talk.session.submit(ORDER_OF_ONE, None))
    assert talk.give(failure(503, 7004, retry="after_ms", retry_after_ms=20)).url.startswith(A)


def test_a_rejection_is_final_and_names_code_and_question():
    talk = Talk()
    talk.start(talk.session.submit(ORDER_OF_ONE, None))
    with pytest.raises(errors.Rejected, match="1001 E1001: message 1001") as caught:
        talk.give(failure(422, 1001))
    assert (caught.value.code, caught.value.sent_id) == (1001, "id-1")
    assert "[submit ACC_00000001 SHFE.cu2701 id=id-1]" in str(caught.value)
    assert caught.value.request_id == "r1"


def test_each_refusal_of_the_catalogue_is_the_same_error_on_rest_and_on_the_socket():
    for entry in CATALOGUE:
        body = errors.ErrorBody(entry.code, entry.name, entry.message)
        by_status = type(errors.from_body(body, asked="", status=entry.status))
        by_code = type(errors.from_body(body, asked=""))
        assert by_status is by_code, entry


@pytest.mark.parametrize(
    ("status", "code", "kind"),
    [(400, 9003, errors.BadRequest), (403, 9006, errors.Forbidden), (404, 1006, errors.NotFound)],
)
def test_a_refusal_that_is_no_business_of_the_exchange_has_a_kind_of_its_own(status, code, kind):
    talk = Talk()
    talk.start(talk.session.submit(ORDER_OF_ONE, None))
    with pytest.raises(kind):
        talk.give(failure(status, code))


def test_an_expired_token_is_replaced_once_by_logging_in_again():
    talk = Talk()
    talk.start(talk.session.login("alice", "secret", None))
    talk.result(success({"user_id": "U1", "token": "token-2"}))
    assert talk.start(talk.session.me(None)).headers["authorization"] == "Bearer token-2"
    login = talk.give(failure(401, 9002))
    assert login.url.endswith("/api/auth/login") and b"secret" in login.body
    again = talk.give(success({"user_id": "U1", "token": "token-3"}))
    assert again.headers["authorization"] == "Bearer token-3"
    with pytest.raises(errors.Unauthenticated):
        talk.give(failure(401, 9002))


def test_a_wrong_password_is_not_tried_twice():
    talk = Talk()
    talk.start(talk.session.login("alice", "wrong", None))
    with pytest.raises(errors.Unauthenticated) as caught:
        talk.give(failure(401, 9001))
    assert "wrong" not in str(caught.value)


def test_after_logout_a_refused_token_is_not_replaced():
    talk = Talk()
    talk.start(talk.session.login("alice", "secret", None))
    talk.result(success({"user_id": "U1", "token": "token-2"}))
    talk.start(talk.session.logout(None))
    talk.result(success(None))
    talk.start(talk.session.me(None))
    with pytest.raises(errors.Unauthenticated):
        talk.give(failure(401, 9002))


def test_a_rate_limit_is_waited_for_where_the_deadline_allows_it():
    talk = Talk()
    talk.start(talk.session.login("alice", "secret", None))
    talk.give(failure(429, 9004, headers={"retry-after": "3"}))
    assert talk.pauses == [3.0]


def test_a_rate_limit_beyond_the_deadline_is_an_error_with_the_wait():
    talk = Talk(timeout_s=2)
    talk.start(talk.session.login("alice", "secret", None))
    with pytest.raises(errors.RateLimited) as caught:
        talk.give(failure(429, 9004, headers={"retry-after": "3"}))
    assert caught.value.retry_after_s == 3


def test_a_cancel_whose_answer_was_lost_is_settled_by_the_order_itself():
    talk = Talk()
    talk.start(talk.session.cancel(Cancel("ACC_00000001", "O0000000001"), None))
    talk.give(BROKEN)
    asked = talk.give(failure(422, 3002))
    assert asked.url.endswith("/api/order/O0000000001")
    cancelled = FULL_ORDER | {"status": "Cancelled", "qifi_status": "FINISHED", "cancel_reason": "BY_CLIENT"}
    result = talk.result(success(cancelled))
    assert result.status == "Cancelled" and result.repeated


def test_a_lost_cancel_of_an_order_that_was_filled_is_still_refused():
    talk = Talk()
    talk.start(talk.session.cancel(Cancel("ACC_00000001", "O0000000001"), None))
    talk.give(BROKEN)
    talk.give(failure(422, 3002))
    with pytest.raises(errors.Rejected):
        talk.give(success(FULL_ORDER | {"status": "Filled", "qifi_status": "FINISHED"}))


def test_a_cancel_that_is_refused_at_the_first_attempt_asks_nothing_more():
    talk = Talk()
    talk.start(talk.session.cancel(Cancel("ACC_00000001", "O0000000001"), None))
    with pytest.raises(errors.Rejected):
        talk.give(failure(422, 3002))


def test_a_lost_modification_is_settled_when_the_order_has_the_wanted_terms():
    talk = Talk()
    sent = talk.start(talk.session.modify(Modify("ACC_00000001", "O0000000001", price=Decimal(70000)), None))
    assert sent.method == "PUT" and b"volume" not in sent.body
    talk.give(BROKEN)
    talk.give(failure(422, 3003))
    assert talk.result(success(FULL_ORDER)).status == "Accepted"


def test_a_registration_whose_answer_was_lost_is_ours_if_our_password_opens_it():
    talk = Talk()
    talk.start(talk.session.register("alice", "secret", None))
    talk.give(BROKEN)
    login = talk.give(failure(409, 2008))
    assert login.url.endswith("/api/auth/login")
    assert talk.result(success({"user_id": "U9", "token": "t"})).user_id == "U9"


def test_a_taken_name_is_a_conflict():
    talk = Talk()
    talk.start(talk.session.register("alice", "secret", None))
    with pytest.raises(errors.Conflict):
        talk.give(failure(409, 2008))


def test_a_body_that_is_not_ours_is_a_protocol_error():
    talk = Talk()
    talk.start(talk.session.me(None))
    with pytest.raises(errors.ProtocolError, match="HTTP 200"):
        talk.give(Reply(200, {}, b"<html>"))


def test_a_gateway_that_lost_the_node_leaves_the_outcome_open():
    talk = Talk(timeout_s=1)
    talk.start(talk.session.submit(ORDER_OF_ONE, None))
    with pytest.raises(errors.OutcomeUnknown):
        while True:
            talk.give(Reply(502, {}, b"<html>bad gateway</html>"))


def test_data_of_another_shape_names_the_field():
    talk = Talk()
    talk.start(talk.session.order("O0000000001", None))
    with pytest.raises(errors.ProtocolError, match=r"\$\.volume"):
        talk.give(success(FULL_ORDER | {"volume": "one"}))


def test_a_failing_read_is_not_repeated_but_a_failing_write_is():
    talk = Talk()
    talk.start(talk.session.me(None))
    with pytest.raises(errors.ServerError):
        talk.give(failure(500, 5000, outcome="unknown", retry="same_id"))
    first = talk.start(talk.session.submit(ORDER_OF_ONE, None))
    assert talk.give(failure(500, 5000, outcome="unknown", retry="same_id")).body == first.body


def row(index, code=0, **error):
    if not code:
        return {"index": index, "success": True, "data": ORDER, "error": None, "receipt": {"log_index": 3, "ts_ns": 1}}
    body = {"code": code, "name": "", "message": "m", "message_zh": "", "outcome": "not_executed", "retry": "no"}
    return {"index": index, "success": False, "data": None, "error": body | error, "receipt": None}


def test_a_batch_repeats_only_the_rows_whose_outcome_is_open_with_their_ids():
    talk = Talk()
    sent = talk.start(talk.session.submit_many([ORDER_OF_ONE] * 3, None))
    assert sent.url.endswith("/api/order/batch") and sent.body.count(b"ACC_00000001") == 1
    again = talk.give(success({"results": [row(0), row(1, 7003, outcome="unknown", retry="same_id"), row(2, 1001)]}))
    assert again.body.count(b"client_order_id") == 1 and b'"id-2"' in again.body
    first, second, third = talk.result(success({"results": [row(0)]}))
    assert first.receipt.log_index == second.receipt.log_index == 3
    assert isinstance(third, errors.Rejected) and third.sent_id == "id-3"


def test_a_batch_that_stays_open_until_the_deadline_says_which():
    talk = Talk(timeout_s=1)
    talk.start(talk.session.submit_many([ORDER_OF_ONE], None))
    answer = success({"results": [row(0, 7003, outcome="unknown", retry="same_id")]})
    with pytest.raises(StopIteration) as ended:
        while True:
            talk.time.now += 0.3
            talk.give(answer)
    (result,) = ended.value.value
    assert isinstance(result, errors.OutcomeUnknown) and result.sent_id == "id-1"


def test_a_batch_that_fails_as_a_whole_later_keeps_the_rows_it_has():
    talk = Talk(timeout_s=1)
    talk.start(talk.session.submit_many([ORDER_OF_ONE] * 2, None))
    talk.give(success({"results": [row(0), row(1, 7003, outcome="unknown", retry="same_id")]}))
    first, second = talk.result(failure(401, 9002))
    assert first.order_id == ORDER["order_id"]
    assert isinstance(second, errors.OutcomeUnknown) and second.sent_id == "id-2"


def test_an_order_of_a_batch_that_was_unknown_once_stays_unknown_until_the_exchange_speaks():
    talk = Talk(timeout_s=1)
    talk.start(talk.session.submit_many([ORDER_OF_ONE] * 2, None))
    talk.give(success({"results": [row(n, 7003, outcome="unknown", retry="same_id") for n in range(2)]}))
    talk.time.now += 2
    overloaded, rejected = talk.result(success({"results": [row(0, 7004, retry="after_ms"), row(1, 1001)]}))
    assert isinstance(overloaded, errors.OutcomeUnknown)
    assert isinstance(rejected, errors.Rejected)


def test_a_batch_over_many_requests_keeps_its_order_and_one_of_two_accounts_is_refused():
    talk = Talk()
    talk.start(talk.session.submit_many([ORDER_OF_ONE] * 1001, None))
    talk.give(success({"results": [row(n) for n in range(1000)]}))
    assert len(talk.result(success({"results": [row(0)]}))) == 1001
    foreign = msgspec.structs.replace(ORDER_OF_ONE, account_id="ACC_00000002")
    with pytest.raises(ValueError, match="ACC_00000001, ACC_00000002"):
        talk.start(talk.session.submit_many([ORDER_OF_ONE, foreign], None))


def test_ids_in_paths_are_escaped():
    talk = Talk()
    assert talk.start(talk.session.order("a/../b", None)).url.endswith("/api/order/a%2F..%2Fb")
