"""One-line bugs that were made, or will be: each must be found by the tests of its area.

`just mutants` makes each in a copy of its package and runs the named tests; all must fail.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Mutant:
    """A bug: in this file the text `was` becomes `now`; one of the tests finds it. `law`: what it breaks."""

    name: str
    path: str
    was: str
    now: str
    tests: tuple[str, ...]
    law: str


_ORDER = "services/order/shoudan_order"
_LEDGER = "services/pay/shoudan_pay/ledger"
_DELIVERY = "services/delivery/shoudan_delivery"
_KIT = "kit/shoudan_kit"
_GATEWAY = "gateway/shoudan_gateway"
_SIGNING = "signing/shoudan_signing"
_POSTING = ("tests/pay/ledger/test_decide.py", "tests/pay/ledger/test_posting.py")
_RESULTS = ("tests/order/test_contradictions.py", "tests/order/test_machine.py")
_NOTIFIES = ("tests/order/test_notifies.py",)
_SIGNS = ("tests/gateway/test_signature_attacks.py", "tests/gateway/test_admission.py")

MUTANTS = (
    # Notifies
    Mutant(
        "any_200_acknowledges",
        f"{_ORDER}/notify_words.py",
        '    text = outcome.body.removeprefix(codecs.BOM_UTF8).strip()\n    if text.lower() == b"success":\n',
        "    text = outcome.body.removeprefix(codecs.BOM_UTF8).strip()\n    if True:\n",
        _NOTIFIES,
        "only the documented words acknowledge a notify (000 §四.6)",
    ),
    Mutant(
        "an_objection_acknowledges",
        f"{_ORDER}/notify_words.py",
        "return type(status) is int and status in {0, 200} and agreed",
        "return type(status) is int and status in {0, 200}",
        _NOTIFIES,
        "a notify_msg that is no success is an objection",
    ),
    Mutant(
        "the_task_of_a_notify_stays",
        f"{_ORDER}/endings.py",
        "                work.tasks.finish(one.task)\n                if one.row",
        "                _ = one.acknowledged and work.tasks.finish(one.task)\n                if one.row",
        _NOTIFIES,
        "one task for each attempt",
    ),
    Mutant(
        "the_signature_leaves_the_time_out",
        f"{_SIGNING}/webhooks.py",
        "sign(message_id, moment, text)",
        "sign(message_id, datetime.fromtimestamp(0, UTC), text)",
        _NOTIFIES,
        "notifies are signed as Standard Webhooks says (S8)",
    ),
    Mutant(
        "one_key_signs",
        f"{_SIGNING}/webhooks.py",
        "for secret in secrets]\n",
        "for secret in secrets[:1]]\n",
        _NOTIFIES,
        "two keys while they are exchanged",
    ),
    Mutant(
        "a_purchase_waits_for_its_notify_for_ever",
        f"{_ORDER}/endings.py",
        "asyncio.get_running_loop().call_later(TOGETHER_S, self._bought_alone, later)",
        "pass",
        ("tests/order/test_endings.py",),
        "a partner that does not answer holds nobody's money",
    ),
    Mutant(
        "a_notify_waits_for_its_purchase_for_ever",
        f"{_ORDER}/endings.py",
        "asyncio.get_running_loop().call_later(TOGETHER_S, self._answered_alone, attempt)",
        "pass",
        ("tests/order/test_endings.py",),
        "a supplier that cannot be paid holds nobody's notify",
    ),
    # Orders
    Mutant(
        "paid_after_its_overtime",
        f"{_ORDER}/store/orders.py",
        " AND {_UNPAID} AND o.order_overtime > shoudan_now()",
        " AND {_UNPAID}",
        ("tests/order/test_trouble.py",),
        "an order that is late is not delivered",
    ),
    Mutant(
        "the_planned_cost_is_paid",
        f"{_ORDER}/results.py",
        "cost, stated_micros = found.micros, found.micros if found.stated else 0",
        "cost, stated_micros = part.cost_amount_micros, 0",
        ("tests/order/test_costs.py",),
        "a supplier is paid what it stated",
    ),
    Mutant(
        "the_planned_cost_is_remembered",
        f"{_ORDER}/transfers.py",
        "cached is not None and task.payload.delivery_id in cached.costed",
        "cached is not None",
        ("tests/simulation/test_simulation.py",),
        "a supplier is paid what it stated, whichever replica pays",
    ),
    Mutant(
        "failed_at_once_and_paid_after_all",
        f"{_ORDER}/payments.py",
        "context.enqueue(work, kinds.ORDER_REFUND, order.line_id, kinds.OrderStep(order_id))",
        "pass",
        ("tests/order/test_trouble.py",),
        "a debit without an answer is voided, or given back",
    ),
    Mutant(
        "another_key_is_voided",
        f"{_ORDER}/transfers.py",
        "    return msgspec.structs.replace(sale(order), void=True)",
        '    return msgspec.structs.replace(sale(order), void=True, trade_no=f"v{order.order_id}")',
        ("tests/order/test_trouble.py",),
        "a debit without an answer is voided, or given back",
    ),
    Mutant(
        "any_cost_is_believed",
        f"{_ORDER}/costs.py",
        "if stated_micros * 1_000_000 > agreed_micros * max_ppm:",
        "if False:",
        ("tests/order/test_costs.py",),
        "a stated cost is bounded",
    ),
    Mutant(
        "a_contradiction_is_no_conflict",
        f"{_ORDER}/results.py",
        "if one.contradicts or one.succeeded != succeeded:",
        "if one.contradicts:",
        _RESULTS,
        "a contradiction parks the order (I5)",
    ),
    Mutant(
        "a_contradiction_is_not_reported",
        f"{_DELIVERY}/results.py",
        "            work.tasks.add(CONFLICT, Report([r for pair in part for r in _both(*pair)]))\n",
        "            pass\n",
        ("tests/delivery/test_notifies.py", "tests/system/test_scripts.py"),
        "what stops another service is reported, not published alone",
    ),
    Mutant(
        "a_conflict_again_and_again",
        f"{_DELIVERY}/results.py",
        "new = sorted(await store.flag_conflicts(work.db, list(found)))",
        "await store.flag_conflicts(work.db, list(found))\n        new = sorted(found)",
        ("tests/delivery/test_notifies.py", "tests/system/test_scripts.py"),
        "one contradiction, one audit",
    ),
    Mutant(
        "a_failed_part_stays_bound",
        f"{_ORDER}/order_totals.py",
        "bind_face_micros=now.bind_face_micros - face_micros",
        "bind_face_micros=now.bind_face_micros",
        ("tests/order/test_trouble.py",),
        "what failed is bound again",
    ),
    Mutant(
        "profit_without_the_fee",
        f"{_ORDER}/order_totals.py",
        "        - down.fee\n        - cost",
        "        - cost",
        (
            "tests/order/test_vectors.py",
            "tests/order/test_happy_path.py",
            "tests/order/test_reports.py",
        ),
        "利润 = 1-2+3-4-5+6+7 (000)",
    ),
    Mutant(
        "a_parked_order_ends_by_itself",
        f"{_ORDER}/results.py",
        "if was.left_s <= 0 and not now.parked_reason:",
        "if was.left_s <= 0:",
        ("tests/order/test_trouble.py",),
        "a person decides what is parked",
    ),
    Mutant(
        "cancelled_with_a_supplier",
        f"{_ORDER}/cancels.py",
        "if was.bind_face_micros or was.success_face_micros:",
        "if was.success_face_micros:",
        ("tests/order/test_cancels.py",),
        "撤单 tells who was first",
    ),
    Mutant(
        "refunded_twice_at_once",
        f"{_ORDER}/refunds.py",
        "            in_refund.add(order.order_id)\n",
        "            pass\n",
        ("tests/order/test_refunds.py",),
        "no more is refunded than was delivered (I6)",
    ),
    Mutant(
        "another_refund_under_the_same_number",
        f"{_ORDER}/refunds.py",
        "if stored.request_hash != new.request_hash:",
        "if False:",
        ("tests/order/test_refunds.py",),
        "the same number with other content is refused",
    ),
    Mutant(
        "a_nonce_twice",
        f"{_ORDER}/refunds.py",
        "            replays |= await nonce_store.use_nonces(work.db, fresh)\n",
        "            pass\n",
        ("tests/order/test_nonces.py",),
        "a signed write is taken once (S2)",
    ),
    # The ledger
    Mutant(
        "below_the_limit",
        f"{_LEDGER}/postings.py",
        "if amount < 0 and standing.floor is not None and left < standing.floor:",
        "if amount < 0 and standing.floor is not None and standing.balance < standing.floor:",
        _POSTING,
        "no account below its credit (I2)",
    ),
    Mutant(
        "a_repeat_of_other_content",
        f"{_LEDGER}/postings.py",
        "    if posting.void or (same and known.ext_no == posting.ext_no):\n",
        "    if True:\n",
        _POSTING,
        "a repeat with other content is refused",
    ),
    Mutant(
        "a_repeat_moves_again",
        f"{_LEDGER}/postings.py",
        "        if known is not None:\n            return _same(known, posting)\n",
        "        if known is not None and posting.void:\n            return _same(known, posting)\n",
        _POSTING,
        "one posting for a key (I1)",
    ),
    Mutant(
        "given_back_without_a_bound",
        f"{_LEDGER}/postings.py",
        "if returned + abs(amount) > abs(had):",
        "if abs(amount) > abs(had):",
        _POSTING,
        "refunds stay within what they quote (I6)",
    ),
    Mutant(
        "reversed_twice",
        f"{_LEDGER}/postings.py",
        "            if returned:\n                raise AlreadyReversed",
        "            if returned > abs(had):\n                raise AlreadyReversed",
        _POSTING,
        "a reversal is made once",
    ),
    Mutant(
        "a_locked_account_moves",
        f"{_LEDGER}/postings.py",
        "            if account.locked:\n",
        "            if account.locked and amount > 0:\n",
        _POSTING,
        "a locked account does not move",
    ),
    Mutant(
        "a_refused_group_leaves_its_first",
        f"{_LEDGER}/postings.py",
        "            self._take_back(postings, new, heads)\n",
        "            pass\n",
        _POSTING,
        "a group is whole or not at all",
    ),
    Mutant(
        "the_seal_without_the_floor",
        f"{_LEDGER}/chain_hash.py",
        "{amount_micros}\\0{balance_micros}\\0{floor_micros}\\0{seq}",
        "{amount_micros}\\0{balance_micros}\\0{seq}",
        ("tests/pay/ledger/test_seals.py",),
        "a seal covers every column (I8)",
    ),
    Mutant(
        "the_seal_without_the_chain",
        f"{_LEDGER}/chain_hash.py",
        "mac.update(previous + row.encode())",
        "mac.update(row.encode())",
        ("tests/pay/ledger/test_seals.py",),
        "a record proves the one before it (I8)",
    ),
    # Deliveries
    Mutant(
        "no_answer_is_a_failure",
        f"{_DELIVERY}/interpret.py",
        'return Outcome(delivery.order_no, Verdict.UNKNOWN, source, "NO_ANSWER", reason)',
        'return Outcome(delivery.order_no, Verdict.FAILED, source, "NO_ANSWER", reason)',
        ("tests/delivery/test_rules.py",),
        "unknown is no failure (I4)",
    ),
    Mutant(
        "another_number_is_ours",
        f"{_DELIVERY}/interpret.py",
        "if reply.names_order and reply.order_no != str(delivery.order_no):",
        "if False:",
        ("tests/delivery/test_answers.py", "tests/delivery/test_notifies.py"),
        "an answer about another number ends nothing",
    ),
    Mutant(
        "another_amount_is_ours",
        f"{_DELIVERY}/interpret.py",
        "return reply.states_amount and reply.amount_micros != delivery.amount_micros",
        "return reply.states_amount and reply.amount_micros > delivery.amount_micros",
        ("tests/delivery/test_answers.py", "tests/delivery/test_notifies.py"),
        "a success about another amount is none",
    ),
    Mutant(
        "an_unknown_code_is_a_failure",
        f"{_DELIVERY}/interpret.py",
        "deal = supplier.deal_codes.get(reply.code, DealCode.UNKNOWN)",
        "deal = supplier.deal_codes.get(reply.code, DealCode.FAILURE)",
        ("tests/delivery/test_answers.py",),
        "only codes that are known end a delivery (I4)",
    ),
    # The gateway and signatures
    Mutant(
        "a_prefix_of_a_signature",
        f"{_SIGNING}/channel.py",
        "matches = [hmac.compare_digest(wanted, one.encode()) for one in expected]",
        "matches = [one.encode().startswith(wanted) for one in expected]",
        _SIGNS,
        "a whole signature, compared in constant time (S3)",
    ),
    Mutant(
        "any_time_is_fresh",
        f"{_GATEWAY}/admission.py",
        "return abs(self._clock.now().timestamp() - stamp) > self._settings.sign_window_s",
        "return self._clock.now().timestamp() - stamp > self._settings.sign_window_s",
        _SIGNS,
        "a time of the future is not fresh either (S2)",
    ),
    Mutant(
        "a_signature_of_networks_elsewhere",
        f"{_GATEWAY}/admission.py",
        "        if address is None or not _inside(address, rule.networks):\n",
        "        if address is None:\n",
        _SIGNS,
        "a channel's networks bind its calls (S1)",
    ),
    Mutant(
        "a_name_twice_in_a_query",
        f"{_GATEWAY}/parameters.py",
        "        if name in found:\n            raise Malformed(name, ParameterError.REPEATED)\n",
        "",
        ("tests/gateway/test_parameters.py",),
        "a name twice is refused, none wins",
    ),
    Mutant(
        "a_name_twice_in_json",
        f"{_GATEWAY}/parameters.py",
        "    if len(found) != len(members):\n",
        "    if False:\n",
        ("tests/gateway/test_parameters.py",),
        "a name twice is refused, none wins",
    ),
    Mutant(
        "a_token_bucket_without_a_ceiling",
        f"{_KIT}/limits/rates.py",
        "tokens = min(rate.burst, tokens + (now - at) * rate.per_s)",
        "tokens = tokens + (now - at) * rate.per_s",
        ("tests/kit/limits",),
        "a caller's burst is bounded (S13)",
    ),
    Mutant(
        "a_metadata_address_is_forgotten",
        f"{_KIT}/http/ssrf.py",
        'ip_address(text) for text in ("169.254.169.254", "100.100.100.200", "fd00:ec2::254")',
        'ip_address(text) for text in ("169.254.169.254", "fd00:ec2::254")',
        ("tests/kit/http",),
        "no allow-list opens metadata (S6)",
    ),
    Mutant(
        "the_first_address_is_checked",
        f"{_KIT}/http/ssrf.py",
        "        for one in found:\n            if not self._guard",
        "        for one in found[:1]:\n            if not self._guard",
        ("tests/kit/http",),
        "one forbidden address forbids a name (S6)",
    ),
    Mutant(
        "a_body_signature_of_other_bytes",
        f"{_SIGNING}/open_body_sig.py",
        'text = f"{app_id}{timestamp}{nonce}{digest}".encode()',
        'text = f"{app_id}{timestamp}{nonce}".encode()',
        ("tests/signing",),
        "the body is signed (S9)",
    ),
    Mutant(
        "a_header_name_twice",
        f"{_SIGNING}/authorization.py",
        "        if name in values:\n            return None\n",
        "",
        ("tests/signing",),
        "a name twice is no claim",
    ),
    # The kit
    Mutant(
        "every_database_error_again",
        f"{_KIT}/db/errors.py",
        'RETRYABLE: Final = frozenset({"40001", "40P01", "55P03"})',
        'RETRYABLE: Final = frozenset({"40001", "40P01", "55P03", "23505", "22P02", "23514"})',
        ("tests/kit/db/test_retry.py",),
        "what cannot succeed is not tried again",
    ),
    Mutant(
        "handed_on_before_the_commit",
        f"{_KIT}/tasks/unit_of_work.py",
        "        try:\n            await self._write()\n            hit(",
        "        try:\n            await self._write()\n            self._hand_on()\n            hit(",
        ("tests/kit/tasks/test_unit_of_work.py",),
        "no effect before its intent is committed (I10)",
    ),
    Mutant(
        "a_cover_goes_with_its_first_task",
        f"{_KIT}/tasks/covers.py",
        " and cover.open == ending[cover]:",
        ":",
        ("tests/kit/tasks/test_covers.py",),
        "what is not written is stood for until it is done (I8)",
    ),
    Mutant(
        "what_is_held_is_never_written",
        f"{_KIT}/tasks/worker.py",
        "            and not new.cover.holds(self.lease_s)\n",
        "            and False\n",
        ("tests/kit/tasks/test_covers.py",),
        "the row that stands for a task may come due",
    ),
    Mutant(
        "a_dead_process_notifies_nobody",
        f"{_ORDER}/restoring.py",
        "    await _restore_notifies(context, work, orders)\n",
        "",
        ("tests/order/test_crashes.py",),
        "an ended order is told whoever dies (I15)",
    ),
    Mutant(
        "an_exclusive_task_twice",
        f"{_KIT}/tasks/unit_of_work.py",
        "                new.mine = new.id in kept\n",
        "                pass\n",
        ("tests/kit/tasks",),
        "one pending task of an exclusive kind",
    ),
    Mutant(
        "a_cent_is_lost",
        f"{_KIT}/money.py",
        "steps = (abs(product) + STEP * YUAN // 2) // (STEP * YUAN)",
        "steps = abs(product) // (STEP * YUAN)",
        ("tests/kit/test_money.py",),
        "rates round half away from zero",
    ),
    Mutant(
        "six_decimals_of_a_yuan",
        f"{_KIT}/money.py",
        r'(?:\.([0-9]{1,5}))?")',
        r'(?:\.([0-9]{1,6}))?")',
        ("tests/kit/test_money.py",),
        "an amount has five decimals at most",
    ),
    Mutant(
        "a_credential_of_another_version_waits",
        f"{_KIT}/credentials/book.py",
        "            self._changed.set()\n            self._changed = asyncio.Event()\n",
        "            self._changed = asyncio.Event()\n",
        ("tests/gateway/test_credentials.py",),
        "a revoked secret is refused everywhere within a second",
    ),
    Mutant(
        "a_late_request_goes_on",
        f"{_GATEWAY}/deadlines.py",
        "            call.cancel()\n",
        "            pass\n",
        ("tests/gateway/test_deadlines.py",),
        "a request has an end",
    ),
)
