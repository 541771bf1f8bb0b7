"""Promises: who logs in, and what it takes: password, second factor, one-time passwords."""

from __future__ import annotations

import asyncio

import jwt

from shoudan.identity.v1 import identity_service_pb2 as pb
from shoudan_identity import bootstrap
from shoudan_kit.secrets.tokens import TokenVerifier, read_key_set
from tests.identity.desk import PASSWORD, SYSTEM, Desk, Person, reason


async def test_the_first_admin_is_made_once_and_changes_its_password_at_login(desk: Desk) -> None:
    password = await bootstrap.first_admin(desk.context)
    assert password is not None
    assert await bootstrap.first_admin(desk.context) is None
    admin = Person("admin", password)
    assert await reason(desk.login(admin)) == "PASSWORD_MUST_CHANGE"
    for weak in ("short", password, "admin-and-more", "a" * 20, "abcdefghijk\nlmno"):
        assert await reason(desk.login(admin, new_password=weak)) == "PASSWORD_WEAK"
    done = await desk.login(admin, new_password=PASSWORD)
    assert done.totp_enrolment_required
    assert await reason(desk.login(admin)) == "LOGIN_REFUSED"


async def test_two_who_make_the_first_admin_at_once_make_one(desk: Desk) -> None:
    made = await asyncio.gather(*(bootstrap.first_admin(desk.context) for _ in range(4)))
    assert len([one for one in made if one is not None]) == 1


async def test_roles_that_move_money_are_worth_nothing_without_a_second_factor(desk: Desk) -> None:
    password = await bootstrap.first_admin(desk.context)
    admin = Person("admin")
    done = await desk.login(admin, password=password, new_password=PASSWORD)
    assert (done.tokens.refresh_token, done.tokens.session_id) == ("", 0)
    claims = jwt.decode(done.tokens.access_token, options={"verify_signature": False})
    assert claims["roles"] == []
    create = desk.stub.CreateOperator(
        pb.CreateOperatorRequest(name="eve", roles=["admin"]), metadata=admin.auth
    )
    assert await reason(create) == "NOT_ALLOWED"
    await desk.enrol(admin)
    me = await desk.stub.WhoAmI(pb.WhoAmIRequest(), metadata=admin.auth)
    assert (list(me.token_roles), me.operator.totp) == (["admin"], True)


async def test_a_role_that_needs_a_second_factor_ends_sessions_without_one(desk: Desk) -> None:
    admin = await desk.admin()
    eve = await desk.person(admin, "eve", "support")
    request = pb.SetRolesRequest(name="eve", roles=["support", "finance-maker"])
    await desk.stub.SetRoles(request, metadata=admin.auth)
    refresh = desk.stub.Refresh(pb.RefreshRequest(refresh_token=eve.tokens.refresh_token))
    assert await reason(refresh) == "SESSION_ENDED"
    assert (await desk.login(eve)).totp_enrolment_required


async def test_a_token_is_verified_with_the_published_keys_alone(desk: Desk) -> None:
    admin = await desk.admin()
    eve = await desk.person(admin, "eve", "ops", "viewer")
    published = await desk.stub.PublishedKeys(pb.PublishedKeysRequest())
    verifier = TokenVerifier(SYSTEM)
    verifier.trust("identity", read_key_set(published.key_set))
    operator = verifier.verify(eve.tokens.access_token)
    assert (operator.name, operator.roles) == ("eve", {"ops", "viewer"})
    assert operator.id == str((await desk.login(eve)).operator.operator_id)


async def test_a_wrong_name_password_or_code_and_a_disabled_operator_look_alike(
    desk: Desk,
) -> None:
    admin = await desk.admin()
    eve = await desk.person(admin, "eve", "ops")
    words = {
        await reason(desk.login(Person("nobody"))),
        await reason(desk.login(eve, password="another password")),
        await reason(desk.login(admin, totp="000000")),
        await reason(desk.login(admin, totp="ABCD-EFGH-JKLM-NPQR")),
    }
    await desk.stub.DisableOperator(pb.DisableOperatorRequest(name="eve"), metadata=admin.auth)
    words.add(await reason(desk.login(eve)))
    assert words == {"LOGIN_REFUSED"}
    assert await reason(desk.login(admin, totp="")) == "TOTP_REQUIRED"
    outcomes = await desk.reasons("login")
    assert outcomes[-5:] == [
        "unknown name",
        "wrong password",
        "wrong code",
        "wrong code",
        "disabled",
    ]


async def test_a_code_counts_once_even_for_two_at_the_same_moment(desk: Desk) -> None:
    admin = await desk.admin()
    await desk.forget_codes(admin)
    code = desk.code(admin)
    answers = await asyncio.gather(
        *(desk.login(admin, totp=code) for _ in range(3)), return_exceptions=True
    )
    assert len([one for one in answers if isinstance(one, pb.LoginResponse)]) == 1
    assert await reason(desk.login(admin, totp=code)) == "LOGIN_REFUSED"


async def test_a_recovery_code_counts_once_however_it_is_typed(desk: Desk) -> None:
    admin = await desk.admin()
    code = admin.recovery[0]
    await desk.login(admin, totp=code.replace("-", " ").lower())
    assert await reason(desk.login(admin, totp=code)) == "LOGIN_REFUSED"
    await desk.login(admin, totp=admin.recovery[1])


async def test_an_authenticator_in_force_is_replaced_only_with_a_code(desk: Desk) -> None:
    admin = await desk.admin()
    without = desk.stub.EnrolTotp(pb.EnrolTotpRequest(), metadata=admin.auth)
    assert await reason(without) == "CODE_REFUSED"
    await desk.forget_codes(admin)
    request = pb.EnrolTotpRequest(code=desk.code(admin))
    made = await desk.stub.EnrolTotp(request, metadata=admin.auth)
    await desk.login(admin)  # the old one stays in force until the new one is proved
    wrong = pb.ConfirmTotpRequest(code=desk.code(admin))
    assert await reason(desk.stub.ConfirmTotp(wrong, metadata=admin.auth)) == "CODE_REFUSED"
    await desk.forget_codes(admin)
    old, admin.secret = admin.secret, made.secret
    right = pb.ConfirmTotpRequest(code=desk.code(admin))
    await desk.stub.ConfirmTotp(right, metadata=admin.auth)
    await desk.login(admin)
    admin.secret = old
    assert await reason(desk.login(admin)) == "LOGIN_REFUSED"


async def test_an_expired_one_time_password_is_refused(desk: Desk) -> None:
    password = await bootstrap.first_admin(desk.context)
    await desk.sql("UPDATE operator SET password_until = now() - interval '1 second'")
    admin = Person("admin", password or "")
    assert await reason(desk.login(admin, new_password=PASSWORD)) == "LOGIN_REFUSED"


async def test_a_changed_password_ends_the_other_sessions(desk: Desk) -> None:
    admin = await desk.admin()
    eve = await desk.person(admin, "eve", "ops")
    other = Person("eve", device=eve.device)
    await desk.login(other)
    wrong = pb.ChangePasswordRequest(password="not this one", new_password="a new long password")
    assert await reason(desk.stub.ChangePassword(wrong, metadata=eve.auth)) == "LOGIN_REFUSED"
    right = pb.ChangePasswordRequest(
        password=PASSWORD,
        new_password="a new long password",
        keep_session_id=eve.tokens.session_id,
    )
    done = await desk.stub.ChangePassword(right, metadata=eve.auth)
    assert done.sessions_ended == 1
    over = desk.stub.Refresh(pb.RefreshRequest(refresh_token=other.tokens.refresh_token))
    assert await reason(over) == "SESSION_ENDED"
    await desk.stub.Refresh(pb.RefreshRequest(refresh_token=eve.tokens.refresh_token))
    eve.password = "a new long password"
    await desk.login(eve)


async def test_no_secret_is_stored_in_clear(desk: Desk) -> None:
    admin = await desk.admin()
    request = pb.CreateApiTokenRequest(name="job", roles=["admin"])
    made = await desk.stub.CreateApiToken(request, metadata=admin.auth)
    secrets = (PASSWORD, admin.secret, admin.device, *admin.recovery, made.secret.split(".")[2])
    secrets += tuple(admin.tokens.refresh_token.split(".")[1:])
    tables = await desk.sql("SELECT tablename FROM pg_tables WHERE schemaname = 'public'")
    for (table,) in tables:
        for (row,) in await desk.sql(f"SELECT t::text FROM {table} t"):
            # bytea is shown as hex
            found = [one for one in secrets if one in row or one.encode().hex() in row]
            assert not found, table
