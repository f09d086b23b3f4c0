"""What AWS and boto3 say when they do not do what they were asked, in words for the user."""

from __future__ import annotations

import difflib
import re
from collections.abc import Mapping
from typing import Any, Literal, cast

from jupyter_compute.errors import PoolError
from jupyter_compute.layers.base import Refusal
from jupyter_compute.model import Offer

__all__ = ["CallFailed", "Kind", "not_listed_yet", "translate"]

Kind = Literal[
    "capacity", "quota", "throttled", "permission", "credentials", "invalid", "unanswered"
]

_KINDS: Mapping[str, Kind] = {
    **dict.fromkeys(
        (
            "CapacityUnavailableException",
            "InsufficientCapacity",
            "InsufficientFreeAddressesInSubnet",
            "InsufficientHostCapacity",
            "InsufficientInstanceCapacity",
            "InsufficientReservedInstanceCapacity",
            "SpotMaxPriceTooLow",
            "Unsupported",  # in this zone
            "UnfulfillableCapacity",
        ),
        "capacity",
    ),
    **dict.fromkeys(
        (
            "InstanceLimitExceeded",
            "LimitExceededException",
            "MaxSpotInstanceCountExceeded",
            "SpotInstanceCountLimitExceeded",
            "VcpuLimitExceeded",
            "VolumeLimitExceeded",
        ),
        "quota",
    ),
    **dict.fromkeys(
        (
            "EC2ThrottledException",
            "RequestLimitExceeded",
            "RequestThrottled",
            "RequestThrottledException",
            "SlowDown",
            "Throttling",
            "ThrottlingException",
            "TooManyRequestsException",
        ),
        "throttled",
    ),
    **dict.fromkeys(
        (
            "AccessDenied",
            "AccessDeniedException",
            "AuthFailure.ServiceLinkedRoleCreationNotPermitted",
            "Blocked",
            "OptInRequired",
            "PendingVerification",
            "UnauthorizedOperation",
        ),
        "permission",
    ),
    **dict.fromkeys(
        (
            "AuthFailure",
            "ExpiredToken",
            "ExpiredTokenException",
            "InvalidAccessKeyId",
            "InvalidClientTokenId",
            "MissingAuthenticationToken",
            "RequestExpired",
            "SignatureDoesNotMatch",
            "UnrecognizedClientException",
        ),
        "credentials",
    ),
    **dict.fromkeys(
        (
            "InternalError",
            "InternalFailure",
            "InternalServerError",
            "RequestTimeout",
            "ServerException",
            "ServiceUnavailable",
            "Unavailable",
        ),
        "unanswered",
    ),
}

_EXPIRED = {"ExpiredToken", "ExpiredTokenException", "RequestExpired"}
_LIMIT = re.compile(r"vCPU limit of (\d+)")
_POLICY = "the policy in docs/aws.md allows what is needed"


class CallFailed(PoolError):
    """A call to AWS was refused, or nobody knows what came of it.

    Parameters
    ----------
    message, hint : str
    kind : str
        As in `Refusal`, or ``unanswered``: it may have been carried out.
    code : str
        As AWS calls it, or the class of boto3's error.
    """

    def __init__(self, message: str, *, hint: str = "", **facts: Any) -> None:
        super().__init__(message, hint=hint, **{"kind": "invalid", "code": "", **facts})

    @property
    def kind(self) -> Kind:
        """What it is about."""
        return cast("Kind", self.facts["kind"])

    @property
    def code(self) -> str:
        """What AWS calls it."""
        return str(self.facts["code"])

    def refusal(self, offer: Offer | None = None) -> Refusal:
        """Return it as the answer to a launch.

        Raises
        ------
        CallFailed
            Itself, if nobody knows what came of the launch.
        """
        if self.kind == "unanswered":
            raise self
        return Refusal(offer, self.kind, str(self), self.facts.get("limit"))

    def to_wire(self) -> dict[str, Any]:
        """Return the JSON form, which is that of a `PoolError`."""
        return {**super().to_wire(), "error": "PoolError"}


def not_listed_yet(failure: CallFailed) -> CallFailed:
    """Return what to raise for a launch that has been carried out and is not listed so far."""
    message = f"{failure.message}: what was launched before is not listed yet"
    return CallFailed(message, **{**failure.facts, "kind": "unanswered"})


def translate(
    error: Exception, service: str, operation: str, profile: str, region: str
) -> CallFailed | None:
    """Return the error in our words; None for one that is not about AWS.

    Parameters
    ----------
    error : Exception
        Of boto3 or botocore.
    service, operation : str
        What was asked for, as boto3 spells it.
    profile, region : str
        Who asked, and where.
    """
    if isinstance(error, ImportError):
        return CallFailed(
            "boto3 is not installed", hint='pip install "jupyter-compute[aws]"', code="ImportError"
        )
    from botocore import exceptions as boto

    action = f"{service}:{operation.title().replace('_', '')}"
    if isinstance(error, boto.ClientError):
        return _refused(error.response["Error"], error.response, action, profile, region)
    if not isinstance(error, boto.BotoCoreError):
        return None
    return _not_asked(error, action, profile, region)


def _refused(
    said: Mapping[str, Any], response: Mapping[str, Any], action: str, profile: str, region: str
) -> CallFailed:
    code, text = str(said.get("Code", "")), _line(said.get("Message", ""))[:500]
    status = int(response.get("ResponseMetadata", {}).get("HTTPStatusCode", 400))
    kind = _KINDS.get(code, "unanswered" if status >= 500 else "invalid")
    facts = {"kind": kind, "code": code, "action": action, "region": region}
    if code in _EXPIRED:
        return CallFailed(
            f"the AWS credentials of profile '{profile}' have expired",
            hint=f"run `{_login(profile)}`; what runs already goes on",
            **facts,
        )
    if kind == "credentials":
        return CallFailed(
            f"AWS does not accept the credentials of profile '{profile}' in {region} ({code})",
            hint=f"run `{_login(profile)}` or `aws configure`; "
            f"a region that is not enabled for the account says the same",
            **facts,
        )
    if kind == "permission":
        return CallFailed(
            f"profile '{profile}' may not {action} in {region} ({code})", hint=_POLICY, **facts
        )
    if kind == "quota":
        return _over_quota(text, region, facts)
    if kind == "throttled":
        return CallFailed(f"AWS is throttling {action} in {region}, trying again later", **facts)
    return CallFailed(f"{action} in {region}: {text or code}", **facts)


def _over_quota(text: str, region: str, facts: Mapping[str, Any]) -> CallFailed:
    hint = "request an increase under Service Quotas, or ask for less"
    if found := _LIMIT.search(text):
        limit = int(found[1])
        message = f"the account's quota of {limit} vCPU in {region} is reached"
        return CallFailed(message, hint=hint, limit=limit, **facts)
    said = text.partition(" Please visit")[0].rstrip(".")
    return CallFailed(f"the account's quota in {region} is reached: {said}", hint=hint, **facts)


def _not_asked(error: Exception, action: str, profile: str, region: str) -> CallFailed:
    """Translate what boto3 says before it gets an answer, or when it gets none."""
    from botocore import exceptions as boto

    facts = {"code": type(error).__name__, "action": action, "region": region}
    if isinstance(error, boto.NoRegionError):
        hint = "set layers.aws.region, AWS_DEFAULT_REGION, or a region in the profile"
        return CallFailed("no AWS region is configured", hint=hint, **facts)
    if isinstance(error, boto.ProfileNotFound):
        hint = "check layers.aws.profile and AWS_PROFILE, or run `aws configure sso`"
        facts["kind"] = "credentials"
        return CallFailed(f"there is no AWS profile '{profile}'", hint=hint, **facts)
    if isinstance(error, boto.NoCredentialsError):
        facts["kind"] = "credentials"
        return CallFailed(
            f"no AWS credentials found for profile '{profile}'",
            hint=f"run `aws configure` or `{_login(profile)}`; `--on local` needs none",
            **facts,
        )
    if _is_login(error):
        facts["kind"] = "credentials"
        return CallFailed(
            f"the AWS login of profile '{profile}' cannot be used: {_line(error)}",
            hint=f"run `{_login(profile)}`",
            **facts,
        )
    if isinstance(error, boto.InvalidRegionError):
        return CallFailed(f"'{region}' is no region", hint=_region_hint(region), **facts)
    if isinstance(error, (boto.HTTPClientError, boto.ConnectionError)):
        facts["kind"] = "unanswered"
        where = f"no answer from AWS ({action} in {region}): {_line(error)}"
        return CallFailed(where, hint=_region_hint(region), **facts)
    return CallFailed(f"{action} in {region}: {_line(error)}", **facts)


def _is_login(error: Exception) -> bool:
    """Tell whether it is about credentials that are configured and cannot be had."""
    from botocore import exceptions as boto

    return isinstance(
        error,
        (
            boto.ConfigParseError,
            boto.CredentialRetrievalError,
            boto.LoginError,
            boto.PartialCredentialsError,
            boto.RefreshWithMFAUnsupportedError,
            boto.SSOError,
            boto.SSOTokenLoadError,
            boto.TokenRetrievalError,
            boto.UnauthorizedSSOTokenError,
        ),
    )


def _region_hint(region: str) -> str:
    import botocore.session

    session = botocore.session.get_session()
    known = [
        name
        for partition in session.get_available_partitions()
        for name in session.get_available_regions("ec2", partition, allow_non_regional=True)
    ]
    if region in known:
        return "check the network, and AWS_ENDPOINT_URL if it is set"
    near = difflib.get_close_matches(region, known, 1)
    return f"'{region}' is no known region" + (f", did you mean {near[0]}?" if near else "")


def _login(profile: str) -> str:
    return "aws sso login" + ("" if profile == "default" else f" --profile {profile}")


def _line(error: object) -> str:
    return " ".join(str(error).split()).rstrip(".")
