"""Coverage compared with a plain count: worlds thrown together, and every question asked about each of them."""

from __future__ import annotations

import itertools
from dataclasses import dataclass, field

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

# Success and failure of a result, in every combination.
FLAGS = [(False, False), (True, False), (False, True), (True, True)]
KINDS = ["CASES_WITHOUT_ISSUE", "ISSUES_WITHOUT_CASE", "ISSUES_NOT_PASSING", "CASES_NEVER_RUN"]
RELATIONS = ["Covers", "Relates to", "Defect"]
GENERAL = {"Covers", "Relates to"}


@dataclass
class Case:
    folder: int | None
    deleted: bool
    id: int = 0


@dataclass
class Run:
    cycle: int | None
    cases: list[int]
    id: int = 0


@dataclass
class Result:
    run: int
    case: int
    status: int
    id: int = 0


@dataclass
class Issue:
    source: int
    number: int
    synced: bool
    id: int = 0


@dataclass
class Link:
    issue: int
    relation: str
    on: str
    target: int
    id: int = 0


@dataclass
class World:
    """Objects refer to each other by their places in these lists; results are in the order of recording."""

    folders: list[int | None]
    cycles: list[int | None]
    cases: list[Case]
    runs: list[Run]
    results: list[Result] = field(default_factory=list)
    issues: list[Issue] = field(default_factory=list)
    links: list[Link] = field(default_factory=list)
    folder_ids: list[int] = field(default_factory=list)
    cycle_ids: list[int] = field(default_factory=list)


def depth(parents, place):
    return 1 if parents[place] is None else 1 + depth(parents, parents[place])


@st.composite
def trees(draw, deepest):
    parents: list[int | None] = []
    for _ in range(draw(st.integers(0, 4))):
        above = [place for place in range(len(parents)) if depth(parents, place) < deepest]
        parents.append(draw(st.sampled_from([None, *above])))
    return parents


def places(things):
    """Return every place in a list, and none."""
    return [None, *range(len(things))]


def some_place(things):
    return st.sampled_from(places(things))


@st.composite
def worlds(draw):
    # Most are full enough for everything to meet everything else; a few are nearly empty.
    least = 0 if draw(st.integers(0, 5)) == 0 else 1
    folders, cycles = draw(trees(5)), draw(trees(3))
    one = st.builds(Case, folder=some_place(folders), deleted=st.integers(0, 5).map(lambda n: n == 0))
    world = World(folders, cycles, draw(st.lists(one, min_size=3 * least, max_size=6)), [])
    all_cases = range(len(world.cases))
    if all_cases:
        some_cases = st.lists(st.sampled_from(all_cases), min_size=min(3, len(all_cases)), max_size=6, unique=True)
        one = st.builds(Run, cycle=some_place(cycles), cases=some_cases)
        world.runs = draw(st.lists(one, min_size=2 * least, max_size=4))
    executed = [(run, case) for run, of in enumerate(world.runs) for case in of.cases]
    if executed:
        status = st.sampled_from([0, 1, 1, 1, 2, 3])
        one = st.builds(lambda where, status: Result(*where, status), st.sampled_from(executed), status)
        world.results = draw(st.lists(one, min_size=6 * least, max_size=16))
    one = st.builds(Issue, source=st.integers(0, 1), number=st.integers(1, 4), synced=st.booleans())
    identity = lambda issue: (issue.source, issue.number)  # noqa: E731 - a key, not a function
    world.issues = draw(st.lists(one, min_size=2 * least, max_size=6, unique_by=identity))
    targets = {
        "case_id": all_cases,
        "result_id": range(len(world.results)),
        "run_id": range(len(world.runs)),
        "cycle_id": range(len(cycles)),
    }
    kinds = [
        on for on in ("case_id", "case_id", "case_id", "result_id", "result_id", "run_id", "cycle_id") if targets[on]
    ]
    if world.issues and kinds:
        one = st.builds(
            lambda issue, relation, target: Link(issue, relation, *target),
            st.sampled_from(range(len(world.issues))),
            st.sampled_from(RELATIONS),
            st.sampled_from(kinds).flatmap(lambda on: st.tuples(st.just(on), st.sampled_from(targets[on]))),
        )
        identity = lambda link: (link.issue, link.relation, link.on, link.target)  # noqa: E731 - as above
        world.links = draw(st.lists(one, min_size=3 * least, max_size=16, unique_by=identity))
    return world


# The plain count


def below(parents, top):
    """Return the places of *top* and of all that is below it."""
    found = {top}
    for place, parent in enumerate(parents):
        if parent in found:
            found.add(place)
    return found


@dataclass
class Count:
    """What is counted in a world within a folder and a cycle, by going through everything."""

    world: World
    folder: int | None = None
    cycle: int | None = None

    def counts(self, run):
        return self.cycle is None or self.world.runs[run].cycle in below(self.world.cycles, self.cycle)

    def in_scope(self, case):
        one = self.world.cases[case]
        if one.deleted:
            return False
        if self.folder is not None and one.folder not in below(self.world.folders, self.folder):
            return False
        return self.cycle is None or any(
            case in run.cases and self.counts(place) for place, run in enumerate(self.world.runs)
        )

    def cases(self):
        return [case for case in range(len(self.world.cases)) if self.in_scope(case)]

    def outcome(self, case):
        """Return success and failure of the latest result that counts, or None."""
        last = None
        for result in self.world.results:
            if result.case == case and self.counts(result.run):
                last = FLAGS[result.status]
        return last

    def is_known(self, issue):
        if self.folder is None and self.cycle is None:
            return True
        for link in self.world.links:
            if link.issue != issue:
                continue
            if link.on == "case_id" and self.in_scope(link.target):
                return True
            if link.on == "result_id":
                result = self.world.results[link.target]
                if self.counts(result.run) and self.in_scope(result.case):
                    return True
        return False

    def known(self):
        return [issue for issue in range(len(self.world.issues)) if self.is_known(issue)]

    def covering(self, issue):
        return {
            link.target
            for link in self.world.links
            if link.issue == issue and link.on == "case_id" and link.relation in GENERAL and self.in_scope(link.target)
        }

    def covers_something(self, case):
        return any(case in self.covering(issue) for issue in range(len(self.world.issues)))

    def passing(self, issue):
        return [case for case in self.covering(issue) if self.outcome(case) == (True, False)]

    def verdict(self, issue):
        outcomes = [self.outcome(case) for case in self.covering(issue)]
        if not outcomes:
            return "NOT_COVERED"
        if any(outcome is not None and outcome[1] for outcome in outcomes):
            return "FAILING"
        return "PASSING" if all(outcome == (True, False) for outcome in outcomes) else "UNTESTED"

    def gaps(self, kind):
        """Return the gaps, cases or issues, and what they are counted of."""
        covered = [issue for issue in self.known() if self.covering(issue)]
        match kind:
            case "CASES_WITHOUT_ISSUE":
                return [case for case in self.cases() if not self.covers_something(case)], self.cases()
            case "ISSUES_WITHOUT_CASE":
                return [issue for issue in self.known() if issue not in covered], self.known()
            case "ISSUES_NOT_PASSING":
                return [issue for issue in covered if len(self.passing(issue)) < len(self.covering(issue))], covered
            case _:
                return [case for case in self.cases() if self.outcome(case) is None], self.cases()


# The same world in the database


@dataclass
class Setting:
    """What all worlds share."""

    sources: list[int]
    statuses: list[int]
    status_names: list[str]
    user: int


@pytest.fixture(scope="module")
async def setting(sql, acme):
    sources = [
        await sql.value(
            "INSERT INTO sources (name, system, key_pattern, all_projects) VALUES ($1, $2, $3, false) RETURNING id",
            f"Thrown together {system}",
            system,
            pattern,
        )
        for system, pattern in (("JIRA", "[A-Z]+-[0-9]+"), ("GITHUB", "#[0-9]+"))
    ]
    names = [f"thrown-{place}" for place in range(len(FLAGS))]
    statuses = [
        await sql.value(
            "INSERT INTO statuses (system_name, name, success, failure, all_projects) "
            "VALUES ($1, $1, $2, $3, false) RETURNING id",
            name,
            *flags,
        )
        for name, flags in zip(names, FLAGS, strict=True)
    ]
    return Setting(sources, statuses, names, acme.people["lead"].id)


def key_of(issue):
    return f"SHOP-{issue.number}" if issue.source == 0 else f"#{issue.number}"


async def build(sql, setting, world):
    """Write *world* into a project of its own, and return that."""
    project = await sql.new_project("thrown together")
    everything = [*world.cases, *world.runs, *world.results, *world.issues, *world.links]
    wanted = len(everything) + len(world.folders) + len(world.cycles)
    ids = [row["id"] for row in await sql.rows("SELECT nextval('ids') AS id FROM generate_series(1, $1)", wanted)]
    for thing in everything:
        thing.id = ids.pop(0)
    world.folder_ids = [ids.pop(0) for _ in world.folders]
    world.cycle_ids = [ids.pop(0) for _ in world.cycles]

    async def insert(query, rows, *others):
        if rows:
            await sql.rows(query, project, rows, *others)

    for table, parents, own_ids in (
        ("folders", world.folders, world.folder_ids),
        ("cycles", world.cycles, world.cycle_ids),
    ):
        typed = table == "cycles"
        await insert(
            f"""
            INSERT INTO {table} (id, project_id, parent_id, depth, name{", type_id" if typed else ""})
            SELECT d.id, $1, d.parent_id, d.depth, 'n' || d.id{", t.id" if typed else ""}
            FROM jsonb_to_recordset($2::jsonb) AS d (id bigint, parent_id bigint, depth smallint)
            {"JOIN cycle_types t ON t.is_default" if typed else ""}
            """,
            [
                {
                    "id": own_ids[place],
                    "parent_id": None if parent is None else own_ids[parent],
                    "depth": depth(parents, place),
                }
                for place, parent in enumerate(parents)
            ],
        )
    await insert(
        """
        WITH made AS (
            INSERT INTO cases (id, project_id, number, title, folder_id, template_id, lifecycle_state_id, created_by,
                updated_by, deleted_at)
            SELECT d.id, $1, d.number, 'Case', d.folder_id, t.id, l.id, $3, $3, CASE WHEN d.deleted THEN now() END
            FROM jsonb_to_recordset($2::jsonb) AS d (id bigint, number integer, folder_id bigint, deleted boolean)
            JOIN templates t ON t.is_default
            JOIN lifecycle_states l ON l.is_default AND l.context = 'REPOSITORY'
            RETURNING id
        )
        INSERT INTO case_versions (case_id, version, snapshot, created_by) SELECT m.id, 1, '{}', $3 FROM made m
        """,
        [
            {
                "id": case.id,
                "number": place + 1,
                "folder_id": None if case.folder is None else world.folder_ids[case.folder],
                "deleted": case.deleted,
            }
            for place, case in enumerate(world.cases)
        ],
        setting.user,
    )
    await insert(
        """
        INSERT INTO runs (id, project_id, cycle_id, lifecycle_state_id, title, created_by)
        SELECT d.id, $1, d.cycle_id, l.id, 'Run', $3
        FROM jsonb_to_recordset($2::jsonb) AS d (id bigint, cycle_id bigint)
        JOIN lifecycle_states l ON l.is_default AND l.context = 'RUNS'
        """,
        [{"id": run.id, "cycle_id": None if run.cycle is None else world.cycle_ids[run.cycle]} for run in world.runs],
        setting.user,
    )
    await insert(
        """
        INSERT INTO run_cases (run_id, case_id, project_id, case_version, status_id)
        SELECT d.run_id, d.case_id, $1, 1, s.id
        FROM jsonb_to_recordset($2::jsonb) AS d (run_id bigint, case_id bigint)
        JOIN statuses s ON s.is_initial
        """,
        [{"run_id": run.id, "case_id": world.cases[case].id} for run in world.runs for case in run.cases],
    )
    await insert(
        """
        INSERT INTO results (id, run_id, case_id, case_version, status_id, created_by)
        SELECT d.id, d.run_id, d.case_id, 1, d.status_id, $3
        FROM jsonb_to_recordset($2::jsonb) AS d (id bigint, run_id bigint, case_id bigint, status_id bigint)
        WHERE $1::bigint IS NOT NULL
        """,
        [
            {
                "id": result.id,
                "run_id": world.runs[result.run].id,
                "case_id": world.cases[result.case].id,
                "status_id": setting.statuses[result.status],
            }
            for result in world.results
        ],
        setting.user,
    )
    await sql.rows(
        """
        UPDATE run_cases SET latest_result_id = e.id, status_id = e.status_id
        FROM (
            SELECT DISTINCT ON (x.run_id, x.case_id) x.run_id, x.case_id, x.id, x.status_id
            FROM results x ORDER BY x.run_id, x.case_id, x.id DESC
        ) e
        WHERE run_cases.project_id = $1 AND run_cases.run_id = e.run_id AND run_cases.case_id = e.case_id
        """,
        project,
    )
    await insert(
        """
        INSERT INTO issues (id, project_id, source_id, key, synced_at)
        SELECT d.id, $1, d.source_id, d.key, CASE WHEN d.synced THEN now() END
        FROM jsonb_to_recordset($2::jsonb) AS d (id bigint, source_id bigint, key text, synced boolean)
        """,
        [
            {"id": issue.id, "source_id": setting.sources[issue.source], "key": key_of(issue), "synced": issue.synced}
            for issue in world.issues
        ],
    )
    ids_of = {
        "case_id": [case.id for case in world.cases],
        "result_id": [result.id for result in world.results],
        "run_id": [run.id for run in world.runs],
        "cycle_id": world.cycle_ids,
    }
    await insert(
        """
        INSERT INTO links (id, project_id, issue_id, relation_id, case_id, result_id, run_id, cycle_id, created_by)
        SELECT d.id, $1, d.issue_id, r.id, d.case_id, d.result_id, d.run_id, d.cycle_id, $3
        FROM jsonb_to_recordset($2::jsonb) AS d (
            id bigint, issue_id bigint, relation text, case_id bigint, result_id bigint, run_id bigint, cycle_id bigint)
        JOIN relations r ON r.name = d.relation
        """,
        [
            {
                "id": link.id,
                "issue_id": world.issues[link.issue].id,
                "relation": link.relation,
                link.on: ids_of[link.on][link.target],
            }
            for link in world.links
        ],
        setting.user,
    )
    return project


# The comparison


def scope_of(project, count):
    """Return the arguments that limit a call to what *count* is limited to."""
    scope = {"project": project}
    if count.folder is not None:
        scope["folderId"] = count.world.folder_ids[count.folder]
    if count.cycle is not None:
        scope["cycleId"] = count.world.cycle_ids[count.cycle]
    return scope


def figures(count):
    expected = []
    for kind in KINDS:
        gaps, of = count.gaps(kind)
        share = round(100 * len(gaps) / len(of), 1) if of else 0
        expected.append({"kind": kind, "count": len(gaps), "of": len(of), "percentage": share})
    return expected


def check_pages(client, setting, project, count, limit):
    world, scope, expected = count.world, scope_of(project, count), figures(count)
    for kind in KINDS:
        items, cursor = [], {}
        while True:
            page = client.call("get_coverage_gaps", **scope, kind=kind, limit=limit, **cursor)
            assert page["gaps"] == expected
            assert page["total"] == len(count.gaps(kind)[0])
            assert len(page["items"]) <= limit
            items += page["items"]
            assert len(items) <= page["total"]
            if "nextCursor" not in page:
                break
            assert len(page["items"]) == limit
            cursor = {"cursor": page["nextCursor"]}
        gaps, _ = count.gaps(kind)
        if kind.startswith("CASES"):
            assert [item["caseId"] for item in items] == [world.cases[case].id for case in gaps]
            assert [item.get("folder", {}).get("id") for item in items] == [
                None if world.cases[case].folder is None else world.folder_ids[world.cases[case].folder]
                for case in gaps
            ]
        else:
            told = ("issueKey", "verdict", "caseCount", "passingCount")
            assert [(item["source"]["id"], *(item[name] for name in told)) for item in items] == [
                (
                    setting.sources[world.issues[issue].source],
                    key_of(world.issues[issue]),
                    count.verdict(issue),
                    len(count.covering(issue)),
                    len(count.passing(issue)),
                )
                for issue in gaps
            ]


def check_trace(client, setting, project, world, place):
    count, issue = Count(world), world.issues[place]
    traced = client.call(
        "get_reverse_traceability",
        project=project,
        issueKey=key_of(issue).lower(),
        sourceId=setting.sources[issue.source],
    )
    assert client.call("get_reverse_traceability", project=project, issueKey=key_of(issue)) == traced
    assert (traced["issueKey"], traced["source"]["id"]) == (key_of(issue), setting.sources[issue.source])
    assert traced["verdict"] == count.verdict(place)
    assert (traced["caseCount"], traced["passingCount"]) == (len(count.covering(place)), len(count.passing(place)))
    links = [link for link in world.links if link.issue == place]
    linked = sorted({link.target for link in links if link.on == "case_id" and count.in_scope(link.target)})
    assert [
        (case["caseId"], [one["linkId"] for one in case["relations"]], case.get("latestResult", {}).get("status"))
        for case in traced["cases"]
    ] == [
        (
            world.cases[case].id,
            [link.id for link in links if (link.on, link.target) == ("case_id", case)],
            next((setting.status_names[r.status] for r in reversed(world.results) if r.case == case), None),
        )
        for case in linked
    ]
    runs = {result.run for result in world.results if result.case in linked}
    assert {run["id"] for run in traced["runs"]} == {world.runs[run].id for run in runs}
    cycles = {world.runs[run].cycle for run in runs} - {None}
    assert {cycle["id"] for cycle in traced["cycles"]} == {world.cycle_ids[cycle] for cycle in cycles}
    defects = [
        (link.id, world.results[link.target].id)
        for link in links
        if link.on == "result_id" and link.relation == "Defect" and count.in_scope(world.results[link.target].case)
    ]
    assert sorted((defect["linkId"], defect["resultId"]) for defect in traced["defects"]) == sorted(defects)
    assert traced["totals"] == {name: len(traced[name]) for name in ("cases", "runs", "cycles", "defects")}


@given(data=st.data(), world=worlds(), limit=st.integers(1, 3))
@settings(
    max_examples=60,
    derandomize=True,
    database=None,
    deadline=None,
    # To shrink a failure means to build hundreds of projects more; the worlds are small as they are.
    phases=[Phase.explicit, Phase.generate],
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)
async def test_what_is_told_is_what_a_plain_count_gives(*, lead, sql, setting, data, world, limit):
    project = await build(sql, setting, world)
    scopes = [Count(world, *scope) for scope in itertools.product(*map(places, (world.folders, world.cycles)))]
    for count in scopes:
        assert lead.call("get_coverage_gaps", **scope_of(project, count)) == {"gaps": figures(count)}
    for count in (scopes[0], data.draw(st.sampled_from(scopes))):
        check_pages(lead, setting, project, count, limit)
    for place in range(len(world.issues)):
        check_trace(lead, setting, project, world, place)
