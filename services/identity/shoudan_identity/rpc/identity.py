"""IdentityService: messages to values and back."""

from __future__ import annotations

from datetime import datetime

from google.protobuf.timestamp_pb2 import Timestamp

from shoudan.identity.v1 import identity_service_pb2 as pb
from shoudan.identity.v1 import identity_service_pb2_grpc as pb_grpc
from shoudan_identity import (
    api_tokens,
    housekeeping,
    logins,
    operators,
    provider_logins,
    second_factor,
    sessions,
)
from shoudan_identity.access import Caller
from shoudan_identity.context import Context
from shoudan_identity.logins import Credentials, LoggedIn
from shoudan_identity.provider_logins import Brought, Pending
from shoudan_identity.rows import ApiTokenRow, OperatorRow, SessionRow
from shoudan_identity.rpc.callers import caller_of
from shoudan_identity.sessions import Tokens
from shoudan_kit.audit_log.entries import drop_draft
from shoudan_kit.rpc.callers import address_of
from shoudan_kit.rpc.messages import RpcContext
from shoudan_kit.rpc.shielded import shielded


class IdentityServicer(pb_grpc.IdentityServiceServicer):
    """The calls of IdentityService."""

    def __init__(self, context: Context) -> None:
        self._context = context

    def _caller(self, context: RpcContext) -> Caller:
        drop_draft()  # the rules record what they change, and why they refuse
        return caller_of(self._context.verifier, context)

    # ------------------------------------------------------------ without a token
    async def Login(self, request: pb.LoginRequest, context: RpcContext) -> pb.LoginResponse:
        given = Credentials(
            request.name,
            request.password,
            request.totp,
            request.new_password,
            request.device,
            request.agent,
            address_of(context),
        )
        done = await shielded(logins.login(self._context, given))
        return _logged_in(done)

    async def BeginProviderLogin(
        self, request: pb.BeginProviderLoginRequest, context: RpcContext
    ) -> pb.BeginProviderLoginResponse:
        made = await provider_logins.start(self._context, request.redirect_uri, address_of(context))
        return pb.BeginProviderLoginResponse(authorization_url=made.url, state=made.state)

    async def FinishProviderLogin(
        self, request: pb.FinishProviderLoginRequest, context: RpcContext
    ) -> pb.FinishProviderLoginResponse:
        brought = Brought(
            request.code,
            request.state,
            request.pending,
            request.totp,
            request.device,
            request.agent,
            address_of(context),
        )
        done = await shielded(provider_logins.finish(self._context, brought))
        if isinstance(done, Pending):
            return pb.FinishProviderLoginResponse(pending=done.sealed)
        return pb.FinishProviderLoginResponse(login=_logged_in(done))

    async def Refresh(self, request: pb.RefreshRequest, context: RpcContext) -> pb.RefreshResponse:
        made = await shielded(
            sessions.refresh(self._context, request.refresh_token, address_of(context))
        )
        return pb.RefreshResponse(tokens=_tokens(made))

    async def Logout(self, request: pb.LogoutRequest, context: RpcContext) -> pb.LogoutResponse:
        await sessions.logout(self._context, request.refresh_token, address_of(context))
        return pb.LogoutResponse()

    async def ExchangeApiToken(
        self, request: pb.ExchangeApiTokenRequest, context: RpcContext
    ) -> pb.ExchangeApiTokenResponse:
        made = await api_tokens.exchange(self._context, request.api_token, address_of(context))
        return pb.ExchangeApiTokenResponse(
            access_token=made.token, access_expire_time=_stamp(made.expires)
        )

    async def PublishedKeys(
        self, request: pb.PublishedKeysRequest, context: RpcContext
    ) -> pb.PublishedKeysResponse:
        document, key = await self._context.keys.published()
        return pb.PublishedKeysResponse(key_set=document, signing_key_id=key)

    # ------------------------------------------------------------ of the caller itself
    async def WhoAmI(self, request: pb.WhoAmIRequest, context: RpcContext) -> pb.WhoAmIResponse:
        caller = self._caller(context)
        row = await operators.show(self._context, caller)
        return pb.WhoAmIResponse(
            operator=_operator(row),
            token_roles=sorted(caller.roles),
            token_expire_time=_stamp(caller.expires),
        )

    async def ChangePassword(
        self, request: pb.ChangePasswordRequest, context: RpcContext
    ) -> pb.ChangePasswordResponse:
        ended = await shielded(
            operators.change_password(
                self._context,
                self._caller(context),
                request.password,
                request.new_password,
                request.keep_session_id,
            )
        )
        return pb.ChangePasswordResponse(sessions_ended=ended)

    async def EnrolTotp(
        self, request: pb.EnrolTotpRequest, context: RpcContext
    ) -> pb.EnrolTotpResponse:
        made = await second_factor.enrol(self._context, self._caller(context), request.code)
        return pb.EnrolTotpResponse(secret=made.secret, uri=made.uri)

    async def ConfirmTotp(
        self, request: pb.ConfirmTotpRequest, context: RpcContext
    ) -> pb.ConfirmTotpResponse:
        caller = self._caller(context)
        made = await shielded(
            second_factor.confirm(self._context, caller, request.code, request.agent)
        )
        return pb.ConfirmTotpResponse(
            recovery_codes=made.recovery_codes, tokens=_tokens(made.tokens), device=made.device
        )

    async def ListSessions(
        self, request: pb.ListSessionsRequest, context: RpcContext
    ) -> pb.ListSessionsResponse:
        rows = await sessions.list_open(self._context, self._caller(context), request.name)
        return pb.ListSessionsResponse(sessions=[_session(row) for row in rows])

    async def EndSession(
        self, request: pb.EndSessionRequest, context: RpcContext
    ) -> pb.EndSessionResponse:
        ended = await sessions.end(
            self._context, self._caller(context), request.name, request.session_id
        )
        return pb.EndSessionResponse(sessions_ended=ended)

    async def CreateApiToken(
        self, request: pb.CreateApiTokenRequest, context: RpcContext
    ) -> pb.CreateApiTokenResponse:
        made = await api_tokens.create(
            self._context, self._caller(context), request.name, request.roles, request.days
        )
        return pb.CreateApiTokenResponse(token=_api_token(made.token), secret=made.secret)

    async def ListApiTokens(
        self, request: pb.ListApiTokensRequest, context: RpcContext
    ) -> pb.ListApiTokensResponse:
        rows = await api_tokens.list_valid(self._context, self._caller(context), request.name)
        return pb.ListApiTokensResponse(tokens=[_api_token(row) for row in rows])

    async def RevokeApiToken(
        self, request: pb.RevokeApiTokenRequest, context: RpcContext
    ) -> pb.RevokeApiTokenResponse:
        caller = self._caller(context)
        await api_tokens.revoke(self._context, caller, request.operator_name, request.name)
        return pb.RevokeApiTokenResponse()

    # ------------------------------------------------------------ of admins
    async def CreateOperator(
        self, request: pb.CreateOperatorRequest, context: RpcContext
    ) -> pb.CreateOperatorResponse:
        caller = self._caller(context)
        made = await operators.create(
            self._context,
            caller,
            request.name,
            request.display_name,
            request.roles,
            request.channels,
        )
        return pb.CreateOperatorResponse(
            operator=_operator(made.operator), one_time_password=made.one_time_password
        )

    async def SetChannels(
        self, request: pb.SetChannelsRequest, context: RpcContext
    ) -> pb.SetChannelsResponse:
        caller = self._caller(context)
        row = await operators.set_channels(self._context, caller, request.name, request.channels)
        return pb.SetChannelsResponse(operator=_operator(row))

    async def SetRoles(
        self, request: pb.SetRolesRequest, context: RpcContext
    ) -> pb.SetRolesResponse:
        caller = self._caller(context)
        row = await operators.set_roles(self._context, caller, request.name, request.roles)
        return pb.SetRolesResponse(operator=_operator(row))

    async def DisableOperator(
        self, request: pb.DisableOperatorRequest, context: RpcContext
    ) -> pb.DisableOperatorResponse:
        row = await operators.disable(self._context, self._caller(context), request.name)
        return pb.DisableOperatorResponse(operator=_operator(row))

    async def EnableOperator(
        self, request: pb.EnableOperatorRequest, context: RpcContext
    ) -> pb.EnableOperatorResponse:
        row = await operators.enable(self._context, self._caller(context), request.name)
        return pb.EnableOperatorResponse(operator=_operator(row))

    async def ResetOperator(
        self, request: pb.ResetOperatorRequest, context: RpcContext
    ) -> pb.ResetOperatorResponse:
        made = await operators.reset(self._context, self._caller(context), request.name)
        return pb.ResetOperatorResponse(
            operator=_operator(made.operator), one_time_password=made.one_time_password
        )

    async def EraseOperator(
        self, request: pb.EraseOperatorRequest, context: RpcContext
    ) -> pb.EraseOperatorResponse:
        caller = self._caller(context)
        row = await operators.erase(self._context, caller, request.name, request.reason)
        return pb.EraseOperatorResponse(operator=_operator(row))

    async def GetOperatorNames(
        self, request: pb.GetOperatorNamesRequest, context: RpcContext
    ) -> pb.GetOperatorNamesResponse:
        caller = self._caller(context)
        found = await operators.names(self._context, caller, request.operator_ids)
        return pb.GetOperatorNamesResponse(names=found)

    async def LinkOperator(
        self, request: pb.LinkOperatorRequest, context: RpcContext
    ) -> pb.LinkOperatorResponse:
        caller = self._caller(context)
        subject = await operators.link(self._context, caller, request.name, request.subject)
        return pb.LinkOperatorResponse(subject=subject)

    async def ListOperators(
        self, request: pb.ListOperatorsRequest, context: RpcContext
    ) -> pb.ListOperatorsResponse:
        rows, token = await operators.page(
            self._context,
            self._caller(context),
            request.page_size,
            request.page_token,
            request.channel_no,
        )
        return pb.ListOperatorsResponse(
            operators=[_operator(row) for row in rows], next_page_token=token
        )

    async def RotateKeys(
        self, request: pb.RotateKeysRequest, context: RpcContext
    ) -> pb.RotateKeysResponse:
        caller = self._caller(context)
        key = await housekeeping.rotate_keys(self._context, caller, at_once=request.at_once)
        return pb.RotateKeysResponse(signing_key_id=key)


def _operator(row: OperatorRow) -> pb.Operator:
    return pb.Operator(
        operator_id=row.operator_id,
        name=row.name,
        display_name=row.display_name,
        roles=row.roles,
        disabled=row.disabled,
        totp=row.totp_sealed is not None,
        password_once=row.password_until is not None,
        create_time=_stamp(row.create_time),
        created_by=row.created_by,
        update_time=_stamp(row.update_time),
        changed_by=row.changed_by,
        channels=row.channels,
    )


def _logged_in(done: LoggedIn) -> pb.LoginResponse:
    return pb.LoginResponse(
        tokens=_tokens(done.tokens),
        device=done.device,
        totp_enrolment_required=done.enrolment_required,
        operator=_operator(done.operator),
    )


def _tokens(made: Tokens) -> pb.Tokens:
    return pb.Tokens(
        access_token=made.access.token,
        access_expire_time=_stamp(made.access.expires),
        refresh_token=made.refresh,
        session_id=made.session_id,
        session_end_time=_stamp(made.end_time),
    )


def _session(row: SessionRow) -> pb.ListSessionsResponse.Session:
    return pb.ListSessionsResponse.Session(
        session_id=row.session_id,
        address=row.address,
        agent=row.agent,
        create_time=_stamp(row.create_time),
        use_time=_stamp(row.use_time),
        end_time=_stamp(row.end_time),
    )


def _api_token(row: ApiTokenRow) -> pb.ApiToken:
    return pb.ApiToken(
        token_id=row.token_id,
        name=row.name,
        roles=row.roles,
        create_time=_stamp(row.create_time),
        expire_time=_stamp(row.expire_time),
        use_time=_stamp(row.use_time),
    )


def _stamp(moment: datetime | None) -> Timestamp | None:
    if moment is None:
        return None
    made = Timestamp()
    made.FromDatetime(moment)
    return made
