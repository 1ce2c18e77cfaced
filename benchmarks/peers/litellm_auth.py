"""LiteLLM's hook for keys of one's own: any key, with limits on requests, tokens and calls at once."""

from litellm.proxy._types import UserAPIKeyAuth


async def user_api_key_auth(request, api_key):
    return UserAPIKeyAuth(api_key=api_key, rpm_limit=10**7, tpm_limit=10**9, max_parallel_requests=10**4)
