"""Login through an OpenID provider: what is believed of it, and what its person may do here."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, Final
from urllib.parse import parse_qs, urlsplit

import aiohttp
import pytest

from shoudan.identity.v1 import identity_service_pb2 as pb
from shoudan_fakes.openid import CLIENT, OpenIdProvider, Person
from shoudan_identity.config import IdentitySettings
from shoudan_identity.provider import ALGORITHMS, KEYS_AGAIN_S, Provider, Unbelieved
from shoudan_kit.config import Secret
from tests.identity import harness as desks
from tests.identity.harness import IdentityHarness, open_desk, reason, refusal

BACK: Final = "http://127.0.0.1:7788/back"


@pytest.fixture
async def provider() -> AsyncIterator[OpenIdProvider]:
    made = await OpenIdProvider("client secret").start()
    yield made
    await made.stop()


@pytest.fixture
async def harness(provider: OpenIdProvider, new_database: Any) -> AsyncIterator[IdentityHarness]:
    urls = await new_database("identity")
    async with open_desk(
        urls,
        oidc_issuer=provider.issuer,
        oidc_client_id=CLIENT,
        oidc_client_secret=Secret("client secret"),
        oidc_redirects=["https://console.example.com/login"],
    ) as made:
        yield made


async def browse(url: str) -> dict[str, str]:
    """What the provider gives a browser to bring back."""
    async with aiohttp.ClientSession() as http, http.get(url, allow_redirects=False) as answer:
        assert answer.status == 302
        found = parse_qs(urlsplit(answer.headers["Location"]).query)
    return {name: values[0] for name, values in found.items()}


async def brought(harness: IdentityHarness, redirect: str = BACK) -> dict[str, str]:
    """A login begun and brought back."""
    begun = await harness.stub.BeginProviderLogin(
        pb.BeginProviderLoginRequest(redirect_uri=redirect)
    )
    back = await browse(begun.authorization_url)
    assert back["state"] == begun.state
    return {"code": back["code"], "state": back["state"]}


async def finish(harness: IdentityHarness, **given: str) -> pb.FinishProviderLoginResponse:
    return await harness.stub.FinishProviderLogin(pb.FinishProviderLoginRequest(**given))


async def link(harness: IdentityHarness, admin: desks.Person, name: str, subject: str) -> str:
    request = pb.LinkOperatorRequest(name=name, subject=subject)
    return (await harness.stub.LinkOperator(request, metadata=admin.auth)).subject


async def why(harness: IdentityHarness) -> str:
    """Why the last login was refused, in the audit log."""
    return (await harness.reasons("login"))[-1]


async def test_a_linked_operator_logs_in_with_the_roles_it_has_here(
    harness: IdentityHarness, provider: OpenIdProvider
) -> None:
    admin = await harness.admin()
    await harness.person(admin, "lin", "support")
    assert await link(harness, admin, "lin", "person-7") == "person-7"
    provider.next_person = Person("person-7")
    done = await finish(harness, **await brought(harness))
    assert (done.login.operator.name, done.pending) == ("lin", "")
    lin = desks.Person("lin", tokens=done.login.tokens)
    me = await harness.stub.WhoAmI(pb.WhoAmIRequest(), metadata=lin.auth)
    assert me.token_roles == ["support"]
    assert done.login.tokens.refresh_token


async def test_who_is_not_linked_learns_what_an_admin_needs_and_the_log_keeps_no_person(
    harness: IdentityHarness, provider: OpenIdProvider
) -> None:
    await harness.admin()
    provider.next_person = Person("stranger")
    refused = await refusal(finish(harness, **await brought(harness)))
    assert (refused.reason, refused.metadata) == (
        "ERROR_REASON_NOT_LINKED",
        {"subject": "stranger"},
    )
    assert await why(harness) == "no operator is linked to this subject"
    assert "stranger" not in str((await harness.audit("login"))[-1])


async def test_roles_that_move_money_take_a_code_of_their_own_or_the_providers_second_factor(
    harness: IdentityHarness, provider: OpenIdProvider
) -> None:
    admin = await harness.admin()
    kim = await harness.person(admin, "kim", "finance-maker")
    await link(harness, admin, "kim", "k")
    provider.next_person = Person("k")
    halfway = await finish(harness, **await brought(harness))
    assert halfway.pending
    assert not halfway.HasField("login")
    assert await reason(finish(harness, pending=halfway.pending, totp="000000")) == "LOGIN_REFUSED"
    await harness.forget_codes(kim)
    done = await finish(harness, pending=halfway.pending, totp=harness.code(kim))
    assert done.login.operator.name == "kim"
    assert await reason(finish(harness, pending=halfway.pending, totp=harness.code(kim))) == (
        "LOGIN_REFUSED"  # a code counts once
    )
    provider.next_person = Person("k", ["pwd", "hwk"])
    strong = await finish(harness, **await brought(harness))
    assert strong.login.tokens.refresh_token


async def test_codes_of_what_is_pending_are_counted(
    harness: IdentityHarness, provider: OpenIdProvider
) -> None:
    admin = await harness.admin()
    await harness.person(admin, "kim", "finance-maker")
    await link(harness, admin, "kim", "k")
    provider.next_person = Person("k")
    halfway = await finish(harness, **await brought(harness))
    found = {
        await reason(finish(harness, pending=halfway.pending, totp=f"00000{n}")) for n in range(8)
    }
    assert found == {"LOGIN_REFUSED", "TOO_MANY_ATTEMPTS"}


async def test_a_role_without_its_second_factor_gets_a_token_to_enrol_with(
    harness: IdentityHarness, provider: OpenIdProvider
) -> None:
    admin = await harness.admin()
    request = pb.CreateOperatorRequest(name="new", roles=["finance-checker"])
    await harness.stub.CreateOperator(request, metadata=admin.auth)
    await link(harness, admin, "new", "n")
    provider.next_person = Person("n")
    done = await finish(harness, **await brought(harness))
    assert done.login.totp_enrolment_required
    assert not done.login.tokens.refresh_token


async def test_a_disabled_operator_is_refused(
    harness: IdentityHarness, provider: OpenIdProvider
) -> None:
    admin = await harness.admin()
    await harness.person(admin, "lin", "support")
    await link(harness, admin, "lin", "p")
    await harness.stub.DisableOperator(pb.DisableOperatorRequest(name="lin"), metadata=admin.auth)
    provider.next_person = Person("p")
    assert await reason(finish(harness, **await brought(harness))) == "LOGIN_REFUSED"
    assert await why(harness) == "disabled"


def alone(provider: OpenIdProvider, *, keys_again_s: float = KEYS_AGAIN_S, **more: Any) -> Provider:
    """The provider as a service sees it, without the service."""
    given = {"oidc_issuer": provider.issuer, "oidc_client_id": CLIENT, **more}
    given.setdefault("oidc_client_secret", Secret("client secret"))
    return Provider(IdentitySettings.model_construct(**given), keys_again_s=keys_again_s)


async def person_of(made: Provider) -> Person:
    """A login at the provider, from the browser to its ID token."""
    words = {"nonce": "n" * 43, "verifier": "v" * 43}
    back = await browse(await made.authorization_url(BACK, state="s", **words))
    found = await made.person(back["code"], redirect=BACK, **words)
    return Person(found.subject, sorted(found.methods))


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("iss", "https://elsewhere.example.com"),
        ("aud", "another client"),
        ("azp", "another client"),
        ("nonce", "of another login"),
        ("nonce", None),
        (
            "exp",
            1_000_000_000,
        ),  # long ago; the same for all workers, which collect at different times
        ("exp", None),
        ("iat", 4_000_000_000),
        ("sub", ""),
        ("sub", "x" * 256),
        ("sub", None),
    ],
)
async def test_a_token_that_does_not_fit_is_not_believed(
    provider: OpenIdProvider, name: str, value: Any
) -> None:
    provider.next_person, made = Person("p", ["otp", "pwd"]), alone(provider)
    assert await person_of(made) == provider.next_person
    provider.spoil = lambda claims: (
        claims.update({name: value}) if value is not None else (claims.pop(name))
    )
    with pytest.raises(Unbelieved, match="ID token: "):
        await person_of(made)


async def test_a_client_with_another_secret_gets_nothing(provider: OpenIdProvider) -> None:
    with pytest.raises(Unbelieved, match="refused the code"):
        await person_of(alone(provider, oidc_client_secret=Secret("wrong")))


async def test_a_foreign_key_is_not_believed_and_a_new_one_of_the_provider_is(
    provider: OpenIdProvider,
) -> None:
    provider.next_person, made = Person("p"), alone(provider, keys_again_s=-1)
    await person_of(made)
    ours, provider.signs_with = provider.signs_with, OpenIdProvider().signs_with
    with pytest.raises(Unbelieved, match="unknown key"):
        await person_of(made)
    provider.signs_with = (ours[0], provider.signs_with[1])
    with pytest.raises(Unbelieved, match="InvalidSignatureError"):
        await person_of(made)
    provider.rotate()
    assert (await person_of(made)).subject == "p"


def test_no_algorithm_with_a_shared_secret_is_accepted() -> None:
    assert not [one for one in ALGORITHMS if one == "none" or one.startswith("HS")]


async def test_a_code_is_good_once_and_only_with_the_state_it_began_with(
    harness: IdentityHarness, provider: OpenIdProvider
) -> None:
    admin = await harness.admin()
    await harness.person(admin, "lin", "support")
    await link(harness, admin, "lin", "p")
    provider.next_person = Person("p")
    first, other = await brought(harness), await brought(harness)
    assert (
        await reason(finish(harness, code=first["code"], state=other["state"])) == "LOGIN_REFUSED"
    )
    assert (
        await why(harness) == "the provider refused the code"
    )  # PKCE: the verifier is the other's
    await finish(harness, **other)
    assert await reason(finish(harness, **other)) == "LOGIN_REFUSED"


async def test_a_state_that_is_not_ours_is_not_believed(harness: IdentityHarness) -> None:
    for state in ("", "x", "é", "A" * 3000, "AAAA"):
        assert await reason(finish(harness, code="c", state=state)) == "LOGIN_REFUSED"
        assert await reason(finish(harness, pending=state or "-", totp="0")) == "LOGIN_REFUSED"


async def test_a_state_is_no_pending_login_and_the_other_way_round(
    harness: IdentityHarness, provider: OpenIdProvider
) -> None:
    begun = await brought(harness)
    assert await reason(finish(harness, pending=begun["state"], totp="000000")) == "LOGIN_REFUSED"


REDIRECTS: Final = (
    (BACK, True),
    ("http://[::1]:9/x", True),
    ("https://console.example.com/login", True),
    ("https://console.example.com/login?x=1", False),
    ("http://localhost:7788/back", False),
    ("http://127.0.0.1/back", False),
    ("http://127.0.0.1:7788@evil.example.com/", False),
    ("https://127.0.0.1:7788/", False),
    ("http://127.0.0.1:99999/", False),
    ("http://[::1", False),
    ("", False),
)


async def test_a_browser_is_sent_back_to_its_machine_or_where_settings_say(
    harness: IdentityHarness,
) -> None:
    for redirect, allowed in REDIRECTS:
        call = harness.stub.BeginProviderLogin(pb.BeginProviderLoginRequest(redirect_uri=redirect))
        if allowed:
            assert (await call).authorization_url
        else:
            assert await reason(call) == "FIELD_INVALID", redirect


async def test_while_the_provider_is_away_passwords_go_on(
    harness: IdentityHarness, provider: OpenIdProvider
) -> None:
    admin = await harness.admin()
    provider.down = True
    begin = harness.stub.BeginProviderLogin(pb.BeginProviderLoginRequest(redirect_uri=BACK))
    assert await reason(begin) == "PROVIDER_UNAVAILABLE"
    await harness.login(admin)


async def test_links_are_an_admins_and_one_person_is_one_operator(
    harness: IdentityHarness, provider: OpenIdProvider
) -> None:
    admin = await harness.admin()
    lin = await harness.person(admin, "lin", "support")
    await harness.person(admin, "kim", "support")
    assert await reason(link(harness, lin, "lin", "p")) == "NOT_ALLOWED"
    await link(harness, admin, "lin", "p")
    assert await link(harness, admin, "lin", "p") == "p"
    assert await reason(link(harness, admin, "kim", "p")) == "SUBJECT_TAKEN"
    assert await link(harness, admin, "lin", "") == ""
    assert await link(harness, admin, "kim", "p") == "p"
    assert await reason(link(harness, admin, "kim", "x" * 256)) == "FIELD_INVALID"
    await harness.stub.ResetOperator(pb.ResetOperatorRequest(name="kim"), metadata=admin.auth)
    provider.next_person = Person("p")
    assert await reason(finish(harness, **await brought(harness))) == "NOT_LINKED"


async def test_without_a_provider_the_calls_say_so(new_database: Any) -> None:
    async with open_desk(await new_database("identity")) as harness:
        request = pb.BeginProviderLoginRequest(redirect_uri=BACK)
        assert await reason(harness.stub.BeginProviderLogin(request)) == "PROVIDER_OFF"
        assert await reason(finish(harness, code="c", state="s")) == "PROVIDER_OFF"


@pytest.mark.parametrize(
    ("issuer", "profile", "fine"),
    [
        ("https://login.example.com", "prod", True),
        ("http://127.0.0.1:8080", "test", True),
        ("http://127.0.0.1:8080", "prod", False),
        ("http://login.example.com", "test", False),
        ("login.example.com", "test", False),
    ],
)
def test_the_provider_is_reached_over_tls(issuer: str, profile: str, fine: bool) -> None:
    made = IdentitySettings.model_construct(
        profile=profile,
        system_id="s",
        database_url=Secret("postgresql://h/d"),
        audit_log_keys=Secret(""),
        oidc_issuer=issuer,
        oidc_client_id=CLIENT,
    )
    mistakes = [one for one in made.cross_check() if one.startswith("oidc")]
    assert mistakes == ([] if fine else [mistakes[0]])


async def test_what_the_provider_says_of_itself_is_read_once(provider: OpenIdProvider) -> None:
    made = alone(provider)
    for _ in range(3):
        await made.authorization_url(BACK, state="s", nonce="n", verifier="v" * 43)
    assert provider.asked == ["/.well-known/openid-configuration"]


async def test_a_command_logs_in_through_a_browser(
    harness: IdentityHarness, provider: OpenIdProvider, tmp_path: Path
) -> None:
    admin = await harness.admin()
    kim = await harness.person(admin, "kim", "finance-maker")
    await link(harness, admin, "kim", "k")
    provider.next_person = Person("k")
    env = {"XDG_STATE_HOME": str(tmp_path), "HOME": str(tmp_path), "PATH": "/usr/bin:/bin"}
    env["SHOUDAN_IDENTITY_TARGET"] = f"127.0.0.1:{harness.process.port}"
    command = (sys.executable, "-m", "shoudan_cli", "--yes")
    pipe = asyncio.subprocess.PIPE
    process = await asyncio.create_subprocess_exec(
        *command, "login", "--provider", stdin=pipe, stdout=pipe, stderr=pipe, env=env
    )
    assert process.stderr is not None
    said, _, url = (await process.stderr.readline()).decode().strip().partition(": ")
    assert said == "open in a browser"
    back = f"{parse_qs(urlsplit(url).query)['redirect_uri'][0]}?code=theirs&state=theirs"
    async with aiohttp.ClientSession() as browser:
        await browser.get(back)  # another login's: not looked at
        async with browser.get(url) as page:
            assert "go back to the command" in await page.text()
    await harness.forget_codes(kim)
    out, err = await process.communicate(f"{harness.code(kim)}\n".encode())
    assert (out.decode(), process.returncode) == ("logged in as kim\n", 0), err.decode()
    who = await asyncio.create_subprocess_exec(*command, "whoami", stdout=pipe, env=env)
    assert (await who.communicate())[0].decode().startswith("kim  finance-maker\n")
