"""`/v1/datasets`: collections, their versions, and rows of a version."""

from typing import Any

from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework.request import Request
from rest_framework.response import Response

from data import selectors, serializers, services
from data.api import PAGING
from data.models import Dataset, DatasetVersion
from data.rows import RowFilter
from data.services.datasets import Shape, Source
from data.split import DEFAULT_SEED, EVEN_TENTHS, Fractions
from kit.errors import BadRequest, NotFound
from kit.ids import parse_id
from kit.pages import cursor_page, read_limit
from tenants.api import TenantAPIView

SPLITS = ("train", "validation", "test")
ROW_FILTERS = [
    OpenApiParameter("after", int, description="Row id of the last row of the page before."),
    OpenApiParameter("limit", int),
    OpenApiParameter("label", str),
    OpenApiParameter("split", str, enum=SPLITS),
    OpenApiParameter("finding", str, description="Code of a finding of the first file."),
    OpenApiParameter("q", str, description="A piece of the text, in any case."),
]


def fractions_of(data: dict[str, Any]) -> Fractions | None:
    """The shares asked for, or None."""
    return Fractions(**data["split"]) if "split" in data else None


class DatasetsView(TenantAPIView):
    """List datasets; make one from files."""

    required_scopes = {"GET": "datasets.read", "POST": "datasets.write"}

    @extend_schema(operation_id="datasets_list", parameters=PAGING, responses=dict)
    def get(self, request: Request) -> Response:
        """The project's datasets, newest first."""
        page = cursor_page(
            selectors.datasets(self.caller.project_id),
            request.query_params,
            parse=lambda text: parse_id(Dataset.prefix, text),
            render=serializers.dataset_body,
        )
        return Response(page)

    @extend_schema(request=serializers.DatasetCreate, responses=dict)
    def post(self, request: Request) -> Response:
        """A dataset with its first version."""
        data = self.read(serializers.DatasetCreate)
        return self.create_once(request, lambda: self._create(data))

    def _create(self, data: dict[str, Any]) -> dict[str, Any]:
        named = data.get("files") or [{"file_id": data["file_id"]}]
        sources = [
            Source(
                selectors.file_get(self.caller.project_id, item["file_id"], param=f"files[{index}].file_id"),
                item.get("split", ""),
            )
            for index, item in enumerate(named)
        ]
        version = services.dataset_create(
            project_id=self.caller.project_id,
            name=data.get("name") or sources[0].file.filename,
            sources=sources,
            fixes=data.get("fixes", []),
            shape=Shape(data.get("columns"), data.get("seed", DEFAULT_SEED), fractions_of(data) or EVEN_TENTHS),
        )
        return serializers.dataset_body(version.dataset)


class DatasetView(TenantAPIView):
    """One dataset."""

    required_scopes = {"GET": "datasets.read", "DELETE": "datasets.write"}

    @extend_schema(responses=dict)
    def get(self, request: Request, dataset_id: str) -> Response:
        """The dataset with its newest version."""
        return Response(serializers.dataset_body(selectors.dataset_get(self.caller.project_id, dataset_id)))

    @extend_schema(responses=dict)
    def delete(self, request: Request, dataset_id: str) -> Response:
        """Take the dataset out of every list; models made from it keep their lineage.

        For 30 days the console can bring it back, or erase it at once.
        """
        dataset = selectors.dataset_get(self.caller.project_id, dataset_id)
        services.dataset_delete(dataset=dataset)
        return Response({"id": dataset.public_id, "object": "dataset", "deleted": True})


class VersionsView(TenantAPIView):
    """List versions; make one with further fixes."""

    required_scopes = {"GET": "datasets.read", "POST": "datasets.write"}

    @extend_schema(operation_id="datasets_versions_list", parameters=PAGING, responses=dict)
    def get(self, request: Request, dataset_id: str) -> Response:
        """The dataset's versions, newest first."""
        page = cursor_page(
            selectors.versions(selectors.dataset_get(self.caller.project_id, dataset_id)),
            request.query_params,
            parse=lambda text: parse_id(DatasetVersion.prefix, text),
            render=serializers.version_body,
        )
        return Response(page)

    @extend_schema(request=serializers.VersionCreate, responses=dict)
    def post(self, request: Request, dataset_id: str) -> Response:
        """A version made from another with further fixes; the same request gives the same version."""
        data = self.read(serializers.VersionCreate)
        dataset = selectors.dataset_get(self.caller.project_id, dataset_id)
        return self.create_once(request, lambda: self._create(dataset, data))

    def _create(self, dataset: Dataset, data: dict[str, Any]) -> dict[str, Any]:
        parent = None
        if "parent_id" in data:
            parent = selectors.version_get(self.caller.project_id, data["parent_id"], param="parent_id")
            if parent.dataset_id != dataset.pk:
                raise NotFound.of(data["parent_id"], param="parent_id")
        version = services.version_create(
            dataset=dataset,
            parent=parent,
            fixes=data.get("fixes", []),
            columns=data.get("columns"),
            seed=data.get("seed"),
            fractions=fractions_of(data),
        )
        return serializers.version_body(version)


class VersionView(TenantAPIView):
    """One version."""

    required_scopes = {"GET": "datasets.read"}

    @extend_schema(responses=dict)
    def get(self, request: Request, dataset_id: str, version_id: str) -> Response:
        """The version with its lineage."""
        return Response(serializers.version_body(version_of(self.caller.project_id, dataset_id, version_id)))


class VersionRowsView(TenantAPIView):
    """Rows of a version."""

    required_scopes = {"GET": "datasets.read"}

    @extend_schema(parameters=ROW_FILTERS, responses=dict)
    def get(self, request: Request, dataset_id: str, version_id: str) -> Response:
        """A page of rows by row id; `label`, `split` and `finding` filter."""
        version = version_of(self.caller.project_id, dataset_id, version_id)
        query = request.query_params
        limit = read_limit(query.get("limit"), default=50, maximum=selectors.MAX_ROWS)
        after = read_limit(query.get("after"), default=0, maximum=2**53, param="after")
        split = query.get("split")
        if split is not None and split not in SPLITS:
            raise BadRequest("'split' must be train, validation or test.", param="split")
        where = RowFilter(
            label=query.get("label"),
            split=split,
            rows=self._rows(version, query.get("finding")),
            text=query.get("q", ""),
        )
        page = selectors.version_rows(version, after=after, limit=limit, where=where)
        return Response(
            {"object": "list", "data": page.rows, "has_more": page.next_after is not None, "last_id": page.next_after}
        )

    def _rows(self, version: DatasetVersion, code: str | None) -> frozenset[int] | None:
        if code is None:
            return None
        source = version.sources.select_related("file").order_by("position").first()
        return selectors.rows_of_finding(source.file, code) if source else frozenset()


def version_of(project_id: Any, dataset_id: str, version_id: str) -> DatasetVersion:
    """A version by both ids; NotFound unless they belong together."""
    dataset = selectors.dataset_get(project_id, dataset_id)
    version = selectors.version_get(project_id, version_id)
    if version.dataset_id != dataset.pk:
        raise NotFound.of(version_id)
    return version
