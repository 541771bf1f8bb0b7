"""Promises: who logs in, and what it takes: password, second factor, one-time passwords."""

from __future__ import annotations

import asyncio

import jwt

from shoudan.identity.v1 import identity_service_pb2 as pb
from shoudan_identity import bootstrap
from shoudan_kit.secrets.tokens import TokenVerifier, read_key_set
from tests.identity.harness import PASSWORD, SYSTEM, IdentityHarness, Person, reason


async def test_the_first_admin_is_made_once_and_changes_its_password_at_login(
    harness: IdentityHarness,
) -> None:
    password = await bootstrap.first_admin(harness.context)
    assert password is not None
    assert await bootstrap.first_admin(harness.context) is None
    admin = Person("admin", password)
    assert await reason(harness.login(admin)) == "PASSWORD_MUST_CHANGE"
    for weak in ("short", password, "admin-and-more", "a" * 20, "abcdefghijk\nlmno"):
        assert await reason(harness.login(admin, new_password=weak)) == "PASSWORD_WEAK"
    done = await harness.login(admin, new_password=PASSWORD)
    assert done.totp_enrolment_required
    assert await reason(harness.login(admin)) == "LOGIN_REFUSED"


async def test_two_who_make_the_first_admin_at_once_make_one(harness: IdentityHarness) -> None:
    made = await asyncio.gather(*(bootstrap.first_admin(harness.context) for _ in range(4)))
    assert len([one for one in made if one is not None]) == 1


async def test_roles_that_move_money_are_worth_nothing_without_a_second_factor(
    harness: IdentityHarness,
) -> None:
    password = await bootstrap.first_admin(harness.context)
    admin = Person("admin")
    done = await harness.login(admin, password=password, new_password=PASSWORD)
    assert (done.tokens.refresh_token, done.tokens.session_id) == ("", 0)
    claims = jwt.decode(done.tokens.access_token, options={"verify_signature": False})
    assert claims["roles"] == []
    create = harness.stub.CreateOperator(
        pb.CreateOperatorRequest(name="eve", roles=["admin"]), metadata=admin.auth
    )
    assert await reason(create) == "NOT_ALLOWED"
    await harness.enrol(admin)
    me = await harness.stub.WhoAmI(pb.WhoAmIRequest(), metadata=admin.auth)
    assert (list(me.token_roles), me.operator.totp) == (["admin"], True)


async def test_a_role_that_needs_a_second_factor_ends_sessions_without_one(
    harness: IdentityHarness,
) -> None:
    admin = await harness.admin()
    eve = await harness.person(admin, "eve", "support")
    request = pb.SetRolesRequest(name="eve", roles=["support", "finance-maker"])
    await harness.stub.SetRoles(request, metadata=admin.auth)
    refresh = harness.stub.Refresh(pb.RefreshRequest(refresh_token=eve.tokens.refresh_token))
    assert await reason(refresh) == "SESSION_ENDED"
    assert (await harness.login(eve)).totp_enrolment_required


async def test_a_token_is_verified_with_the_published_keys_alone(harness: IdentityHarness) -> None:
    admin = await harness.admin()
    eve = await harness.person(admin, "eve", "ops", "viewer")
    published = await harness.stub.PublishedKeys(pb.PublishedKeysRequest())
    verifier = TokenVerifier(SYSTEM)
    verifier.trust("identity", read_key_set(published.key_set))
    operator = verifier.verify(eve.tokens.access_token)
    assert (operator.name, operator.roles) == ("eve", {"ops", "viewer"})
    assert operator.id == str((await harness.login(eve)).operator.operator_id)


async def test_a_wrong_name_password_or_code_and_a_disabled_operator_look_alike(
    harness: IdentityHarness,
) -> None:
    admin = await harness.admin()
    eve = await harness.person(admin, "eve", "ops")
    words = {
        await reason(harness.login(Person("nobody"))),
        await reason(harness.login(eve, password="another password")),
        await reason(harness.login(admin, totp="000000")),
        await reason(harness.login(admin, totp="ABCD-EFGH-JKLM-NPQR")),
    }
    await harness.stub.DisableOperator(pb.DisableOperatorRequest(name="eve"), metadata=admin.auth)
    words.add(await reason(harness.login(eve)))
    assert words == {"LOGIN_REFUSED"}
    assert await reason(harness.login(admin, totp="")) == "TOTP_REQUIRED"
    outcomes = await harness.reasons("login")
    assert outcomes[-5:] == [
        "unknown name",
        "wrong password",
        "wrong code",
        "wrong code",
        "disabled",
    ]


async def test_a_code_counts_once_even_for_two_at_the_same_moment(harness: IdentityHarness) -> None:
    admin = await harness.admin()
    await harness.forget_codes(admin)
    code = harness.code(admin)
    answers = await asyncio.gather(
        *(harness.login(admin, totp=code) for _ in range(3)), return_exceptions=True
    )
    assert len([one for one in answers if isinstance(one, pb.LoginResponse)]) == 1
    assert await reason(harness.login(admin, totp=code)) == "LOGIN_REFUSED"


async def test_a_recovery_code_counts_once_however_it_is_typed(harness: IdentityHarness) -> None:
    admin = await harness.admin()
    code = admin.recovery[0]
    await harness.login(admin, totp=code.replace("-", " ").lower())
    assert await reason(harness.login(admin, totp=code)) == "LOGIN_REFUSED"
    await harness.login(admin, totp=admin.recovery[1])


async def test_an_authenticator_in_force_is_replaced_only_with_a_code(
    harness: IdentityHarness,
) -> None:
    admin = await harness.admin()
    without = harness.stub.EnrolTotp(pb.EnrolTotpRequest(), metadata=admin.auth)
    assert await reason(without) == "CODE_REFUSED"
    await harness.forget_codes(admin)
    request = pb.EnrolTotpRequest(code=harness.code(admin))
    made = await harness.stub.EnrolTotp(request, metadata=admin.auth)
    await harness.login(admin)  # the old one stays in force until the new one is proved
    wrong = pb.ConfirmTotpRequest(code=harness.code(admin))
    assert await reason(harness.stub.ConfirmTotp(wrong, metadata=admin.auth)) == "CODE_REFUSED"
    await harness.forget_codes(admin)
    old, admin.secret = admin.secret, made.secret
    right = pb.ConfirmTotpRequest(code=harness.code(admin))
    await harness.stub.ConfirmTotp(right, metadata=admin.auth)
    await harness.login(admin)
    admin.secret = old
    assert await reason(harness.login(admin)) == "LOGIN_REFUSED"


async def test_an_expired_one_time_password_is_refused(harness: IdentityHarness) -> None:
    password = await bootstrap.first_admin(harness.context)
    await harness.sql("UPDATE operator SET password_until = now() - interval '1 second'")
    admin = Person("admin", password or "")
    assert await reason(harness.login(admin, new_password=PASSWORD)) == "LOGIN_REFUSED"


async def test_a_changed_password_ends_the_other_sessions(harness: IdentityHarness) -> None:
    admin = await harness.admin()
    eve = await harness.person(admin, "eve", "ops")
    other = Person("eve", device=eve.device)
    await harness.login(other)
    wrong = pb.ChangePasswordRequest(password="not this one", new_password="a new long password")
    assert await reason(harness.stub.ChangePassword(wrong, metadata=eve.auth)) == "LOGIN_REFUSED"
    right = pb.ChangePasswordRequest(
        password=PASSWORD,
        new_password="a new long password",
        keep_session_id=eve.tokens.session_id,
    )
    done = await harness.stub.ChangePassword(right, metadata=eve.auth)
    assert done.sessions_ended == 1
    over = harness.stub.Refresh(pb.RefreshRequest(refresh_token=other.tokens.refresh_token))
    assert await reason(over) == "SESSION_ENDED"
    await harness.stub.Refresh(pb.RefreshRequest(refresh_token=eve.tokens.refresh_token))
    eve.password = "a new long password"
    await harness.login(eve)


async def test_no_secret_is_stored_in_clear(harness: IdentityHarness) -> None:
    admin = await harness.admin()
    request = pb.CreateApiTokenRequest(name="job", roles=["admin"])
    made = await harness.stub.CreateApiToken(request, metadata=admin.auth)
    secrets = (PASSWORD, admin.secret, admin.device, *admin.recovery, made.secret.split(".")[2])
    secrets += tuple(admin.tokens.refresh_token.split(".")[1:])
    tables = await harness.sql("SELECT tablename FROM pg_tables WHERE schemaname = 'public'")
    for (table,) in tables:
        for (row,) in await harness.sql(f"SELECT t::text FROM {table} t"):
            # bytea is shown as hex
            found = [one for one in secrets if one in row or one.encode().hex() in row]
            assert not found, table
