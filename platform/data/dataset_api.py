"""`/v1/datasets`: collections, their versions, and rows of a version."""

from typing import Any

from rest_framework.request import Request
from rest_framework.response import Response

from data import schema, selectors, serializers, services
from data.models import Dataset, DatasetVersion
from data.rows import RowFilter
from data.services.datasets import Shape, Source
from data.split import DEFAULT_SEED, EVEN_TENTHS, Fractions
from kit.errors import BadRequest, NotFound
from kit.ids import parse_id
from kit.pages import cursor_page, read_limit
from kit.schema import describe, paging, query
from tenants.api import TenantAPIView

DEFAULT_ROWS = 50
ROW_FILTERS = [
    query("after", int, "Row id of the last row of the page before; leave it out for the first page."),
    query(
        "limit", int, f"Rows on a page, 1 to {selectors.MAX_ROWS:,}; {DEFAULT_ROWS} by default.", example=DEFAULT_ROWS
    ),
    query("label", str, "Only rows with this label."),
    query("split", str, "Only rows of this split.", choices=schema.SPLITS),
    query(
        "finding", str, "Only rows that a finding of this code names, in the first file.", example="exact_duplicates"
    ),
    query("q", str, "Only rows whose text holds this, in any case."),
]
FILES = "A file has problems that block training, or the columns are of another task. The message names them."
UNREADY = "A file is still being checked, or the version it is made from is not ready."
PAGING = paging(default=20, maximum=100)


def fractions_of(data: dict[str, Any]) -> Fractions | None:
    """The shares asked for, or None."""
    return Fractions(**data["split"]) if "split" in data else None


class DatasetsView(TenantAPIView):
    """List datasets; make one from files."""

    required_scopes = {"GET": "datasets.read", "POST": "datasets.write"}

    @describe(name="datasets_list", answers=schema.DATASETS, fields=PAGING)
    def get(self, request: Request) -> Response:
        """List datasets

        The project's datasets, newest first, each with its newest version.
        """
        page = cursor_page(
            selectors.datasets(self.caller.project_id),
            request.query_params,
            parse=lambda text: parse_id(Dataset.prefix, text),
            render=serializers.dataset_body,
        )
        return Response(page)

    @describe(
        name="datasets_create",
        takes=serializers.DatasetCreate,
        answers=schema.DATASET,
        refuses={404: "A file is not the project's.", 409: UNREADY, 422: FILES},
        once=True,
        example={"name": "Intents", "file_id": "file-…", "fixes": [{"fix": "drop_duplicates"}]},
    )
    def post(self, request: Request) -> Response:
        """Make a dataset

        From one file or several, with fixes applied. Its first version is written after the answer: poll it until its
        state is `ready`. The same files, columns, fixes and seed give the same rows and the same hash.
        """
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

    @describe(name="datasets_retrieve", answers=schema.DATASET)
    def get(self, request: Request, dataset_id: str) -> Response:
        """Retrieve a dataset

        With its newest version.
        """
        return Response(serializers.dataset_body(selectors.dataset_get(self.caller.project_id, dataset_id)))

    @describe(name="datasets_delete", answers=schema.DATASET_DELETED)
    def delete(self, request: Request, dataset_id: str) -> Response:
        """Delete a dataset

        It leaves every list; models made from it keep their lineage. For 30 days the console can bring it back, or
        erase it at once.
        """
        dataset = selectors.dataset_get(self.caller.project_id, dataset_id)
        services.dataset_delete(dataset=dataset)
        return Response({"id": dataset.public_id, "object": "dataset", "deleted": True})


class VersionsView(TenantAPIView):
    """List versions; make one with further fixes."""

    required_scopes = {"GET": "datasets.read", "POST": "datasets.write"}

    @describe(name="datasets_versions_list", answers=schema.VERSIONS, fields=PAGING)
    def get(self, request: Request, dataset_id: str) -> Response:
        """List versions

        The dataset's versions, newest first.
        """
        page = cursor_page(
            selectors.versions(selectors.dataset_get(self.caller.project_id, dataset_id)),
            request.query_params,
            parse=lambda text: parse_id(DatasetVersion.prefix, text),
            render=serializers.version_body,
        )
        return Response(page)

    @describe(
        name="datasets_versions_create",
        takes=serializers.VersionCreate,
        answers=schema.VERSION,
        refuses={409: UNREADY, 422: FILES},
        once=True,
        example={"fixes": [{"fix": "drop_near_duplicates"}]},
    )
    def post(self, request: Request, dataset_id: str) -> Response:
        """Make a version

        From another version, with further fixes. The same request gives the same version.
        """
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

    @describe(name="datasets_versions_retrieve", answers=schema.VERSION)
    def get(self, request: Request, dataset_id: str, version_id: str) -> Response:
        """Retrieve a version

        With its lineage, labels and splits.
        """
        return Response(serializers.version_body(version_of(self.caller.project_id, dataset_id, version_id)))


class VersionRowsView(TenantAPIView):
    """Rows of a version."""

    required_scopes = {"GET": "datasets.read"}

    @describe(
        name="datasets_versions_rows",
        answers=schema.ROWS,
        fields=ROW_FILTERS,
        refuses={409: "The version is still being written, or failed."},
    )
    def get(self, request: Request, dataset_id: str, version_id: str) -> Response:
        """List rows

        A page of a version's rows, by row id.
        """
        version = version_of(self.caller.project_id, dataset_id, version_id)
        query = request.query_params
        limit = read_limit(query.get("limit"), default=DEFAULT_ROWS, maximum=selectors.MAX_ROWS)
        after = read_limit(query.get("after"), default=0, maximum=2**53, param="after")
        split = query.get("split")
        if split is not None and split not in schema.SPLITS:
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
