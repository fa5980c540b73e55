"""Requests to APIs through dlt: it pages, waits and tries again. Errors come in our words, without key or values."""

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, cast

from pipelines.config import ApiSource
from pipelines.sources import known_apis
from pipelines.sources.known_apis import Resource
from schemas.validation import SourceError, SourceUnavailable

ATTEMPTS, BACKOFF_SECONDS, LONGEST_WAIT_SECONDS = 5, 1.0, 120
"""Tries of a request that is refused for a moment or breaks off. The wait doubles, or is what the server asks for."""

Page = tuple[list[dict[str, Any]], dict[str, Any]]
"""The objects of a page, and the answer that held them (empty where it is nothing but a list)."""


class ApiError(SourceError):
    """An API that cannot be read as configured. The message has neither the key nor values of objects."""


class ApiClient:
    """The requests of one source. Raises `ApiError`, and `SourceUnavailable` for what may pass."""

    def __init__(self, source: str, spec: ApiSource) -> None:
        self.source, self.spec, self.api = source, spec, known_apis.load(spec.api)
        self._client = self._connected()

    def place(self, resource: Resource) -> str:
        """How a list is called in messages."""
        return f"source {self.source}, list {resource.name} of {self.spec.api}"

    def pages(self, resource: Resource, params: Mapping[str, Any]) -> Iterator[Page]:
        """A list page by page."""
        from dlt.sources.rest_api.config_setup import create_paginator

        pages = self._client.paginate(
            self._filled(resource.path),
            params={**resource.params, **params},
            paginator=create_paginator(cast(Any, dict(self.api.paginator))),
            data_selector=resource.rows,
        )
        with self._translated(resource):
            for page in pages:
                answer = page.response.json()
                items = answer if resource.rows == "$" else answer.get(resource.rows)
                if not isinstance(items, list) or not all(
                    isinstance(one, dict) and resource.id in one for one in items
                ):
                    raise ApiError(f"{self.place(resource)}: the answer is no list of objects. Correct `base_url`")
                for name in resource.first_page_only:
                    page.request.params.pop(name, None)
                yield items, {} if resource.rows == "$" else answer

    def object(self, resource: Resource, identifier: str) -> dict[str, Any] | None:
        """One object of a list as it is now; None if it is gone."""
        with self._translated(resource):
            answer = self._client.get(f"{self._filled(resource.path)}/{identifier}")
            if answer.status_code == 404:
                return None
            answer.raise_for_status()
            item: dict[str, Any] = answer.json()
        return None if item.get("deleted") else item

    def _connected(self) -> Any:
        variable = self.spec.token_env
        key = os.environ.get(variable, "")
        if not key:
            raise ApiError(
                f"source {self.source}: the environment variable {variable} is not set. Set it to the key of the API"
            )
        try:
            from dlt.sources.helpers.requests import Client
            from dlt.sources.helpers.rest_client.auth import BearerTokenAuth, HttpBasicAuth
            from dlt.sources.helpers.rest_client.client import RESTClient
        except ImportError:
            raise ApiError(
                f"source {self.source}: APIs need the package dlt: pip install 'customer-success-kpis[api]'"
            ) from None
        user, _, password = key.partition(":")
        return RESTClient(
            self._filled(self.spec.base_url or self.api.base_url),
            auth=BearerTokenAuth(key) if self.api.auth == "bearer" else HttpBasicAuth(user, password),
            session=Client(
                raise_for_status=False,
                request_max_attempts=ATTEMPTS,
                request_backoff_factor=BACKOFF_SECONDS,
                request_max_retry_delay=LONGEST_WAIT_SECONDS,
            ).session,
        )

    def _filled(self, address: str) -> str:
        for name, value in self.spec.parameters.items():
            address = address.replace(f"{{{name}}}", value)
        return address

    @contextmanager
    def _translated(self, resource: Resource) -> Iterator[None]:
        from requests import RequestException

        try:
            yield
        except (RequestException, ValueError) as error:
            status = getattr(getattr(error, "response", None), "status_code", None)
            raise self._problem(self.place(resource), status) from None

    def _problem(self, place: str, status: int | None) -> SourceError:
        key = f"the key in {self.spec.token_env}"
        refused = {
            401: f"{key} was refused (401). Has it expired or been taken back? Set a new one",
            403: f"{key} may not read this (403). Give it the right to",
            404: "there is no such list (404). Correct `parameters` or `base_url`",
        }
        if status is None:
            return SourceUnavailable(f"{place}: no whole answer came, {ATTEMPTS} times in a row. Try again later")
        if status == 429:
            return SourceUnavailable(f"{place}: too many requests, {ATTEMPTS} times in a row (429). Try again later")
        if status >= 500:
            return SourceUnavailable(
                f"{place}: the server failed, {ATTEMPTS} times in a row ({status}). Try again later"
            )
        return ApiError(f"{place}: {refused.get(status, f'the request was refused ({status})')}")
