"""What `/v1/deployments`, `/v1/rollouts` and `/v1/feedback` answer, field by field, for the API reference."""

from kit.schema import component, deleted, many, mapping, moment, number, one_of, page_of, string, thing, truth, whole
from serving.models import Dedicated, Deployment, Rollout
from serving.pools import State
from serving.splits import CANDIDATE, STABLE

_FIELDS = {
    "id": string("The deployment's id.", example="dep_01m8hyccpze3abtvcq1zv6743v"),
    "object": one_of("Always `deployment`.", ["deployment"]),
    "model": string("The model that is served; calls name it.", example="ft:all-MiniLM-L6-v2:acme:support:dw7z90zk"),
    "version": whole("The version of the model."),
    "alias": string("A second name for calls, such as `triage@prod`; null where none was given.", null=True),
    "state": one_of("`loading`, then `live`, then `stopped`; or `failed`.", Deployment.State.values),
    "reason": string("Why it failed or was stopped; null otherwise.", null=True),
    "parity": thing(
        "How far the served probabilities are from those at training time; null until compared.",
        {
            "mean": number("Mean distance."),
            "texts": whole("Texts compared."),
            "worst": number("Largest distance."),
            "passed": truth("Whether it is within the tolerance; it goes live only then."),
            "tolerance": number("The largest distance allowed."),
        },
        null=True,
    ),
    "precision": number(
        "Calls that say nothing of `x_abstain` are answered only where at least this share of answers is right; null: "
        "always.",
        null=True,
    ),
    "dedicated": thing(
        "Engines of its own; null where the shared ones serve it.",
        {
            "replicas_min": whole("As many stay when nobody calls."),
            "replicas_max": whole("As many at most."),
            "idle_seconds": whole("Without a call for so long, only the least stay."),
            "replicas_wanted": whole("As many are wanted now."),
            "replicas_ready": whole("As many can be asked, some seconds behind; paid by the second."),
            "state": one_of("How they are.", [state.value for state in State]),
            "halted": one_of(
                "What keeps them from running; null where nothing does.", Dedicated.Halt.values, null=True
            ),
            "cold_start_ms": whole("How long the first one took to start, the last time; null until then.", null=True),
        },
        null=True,
    ),
    "created_at": moment("When it was asked for."),
    "live_at": moment("When it went live; null until then.", null=True),
    "ended_at": moment("When it ended; null until then.", null=True),
    "last_called_at": moment("When it answered last, some minutes behind; null where never.", null=True),
}
DEPLOYMENT = component("Deployment", thing("A model being served, or that was.", _FIELDS))
DEPLOYMENT_WHOLE = component(
    "DeploymentWithEvents",
    thing(
        "A deployment with its history.",
        {
            **_FIELDS,
            "events": many(
                "What happened, oldest first.",
                thing(
                    "An event.",
                    {
                        "state": one_of("The state it led to.", Deployment.State.values),
                        "message": string("What happened."),
                        "created_at": moment("When."),
                    },
                ),
            ),
        },
    ),
)
DEPLOYMENTS = page_of(DEPLOYMENT, "Deployments.")
DEPLOYMENT_STOPPED = deleted(
    "deployment",
    "Calls are no longer answered.",
    state=one_of("`stopped`, or `failed` where it had failed before.", Deployment.State.values),
)

_SIDE = {
    "deployment": string("The deployment.", example="dep_01m8hyccpze3abtvcq1zv6743v"),
    "model": string("Its model."),
    "version": whole("Its version."),
}
_ROLLOUT = {
    "id": string("The rollout's id.", example="rollout_01m8hyccpze3abtvcq1zv6743v"),
    "object": one_of("Always `rollout`.", ["rollout"]),
    "alias": string("The name that callers use.", example="triage@prod"),
    "mode": one_of("How the candidate is tried.", Rollout.Mode.values),
    "state": one_of("`running`, then `promoted` or `rolled_back`.", Rollout.State.values),
    "share": number("Percent of the callers on the candidate; of a shadow, whose calls it is asked as well."),
    "stable": thing("What the alias stood for when it began.", _SIDE),
    "candidate": thing("What may take over.", _SIDE),
    "steps": many(
        "What a canary goes through by itself.",
        thing(
            "A step.",
            {
                "share": number("Percent of the callers."),
                "seconds": whole("How long it lasts at least."),
                "calls": whole("Calls that the candidate must have had in it."),
                "feedback": whole("Answers of it that must have been judged."),
            },
        ),
    ),
    "guards": thing(
        "When it is rolled back by itself.",
        {
            "auto_rollback": truth("Whether it is."),
            "alpha": number("The chance that a candidate which is no worse is rolled back all the same."),
            "error_margin": number("How much larger its share of failed calls may be."),
            "quality_margin": number("How much larger its share of wrong answers may be."),
            "latency_ms": whole("A limit for the 95th percentile of its calls; null for none.", null=True),
        },
    ),
    "drain_seconds": whole("How long after a promotion the old deployment is stopped; null keeps it.", null=True),
    "automatic": truth("Whether it ended by itself."),
    "reason": string("Why it ended; null while it runs.", null=True),
    "created_at": moment("When it began."),
    "ended_at": moment("When it ended; null until then.", null=True),
}
ROLLOUT = component("Rollout", thing("A change of what an alias stands for.", _ROLLOUT))
_FIGURES = thing(
    "What an arm did.",
    {
        "calls": whole("Calls that were answered, or failed by our fault."),
        "errors": whole("Of those the ones that failed (5xx)."),
        "p50_ms": number("Half of its newest 50,000 timed calls took no longer; null without calls.", null=True),
        "p95_ms": number("95 of 100 of its newest 50,000 timed calls took no longer; null without calls.", null=True),
        "judged": whole("Answers with feedback."),
        "wrong": whole("Of those the wrong ones."),
    },
)
ROLLOUT_WHOLE = component(
    "RolloutWithFigures",
    thing(
        "A rollout with figures and history.",
        {
            **_ROLLOUT,
            "figures": thing("Of both arms, since it began.", {STABLE: _FIGURES, CANDIDATE: _FIGURES}),
            "shadow": thing(
                "Of a shadow what became of its calls; null otherwise.",
                {
                    "compared": whole("Texts, questions, queries or calls answered by both versions."),
                    "agreed": whole(
                        "Of those the ones with the same answer: label, set of labels, entities, words, or first "
                        "document; of what was written the same text or JSON, and the same calls of tools. Null for "
                        "quantities and vectors.",
                        null=True,
                    ),
                    "overlap": number(
                        "Twice the labels, entities or written words that both have, of all that each has; of "
                        "documents the share of pairs in the same order. Null for other tasks, and while there is "
                        "nothing.",
                        null=True,
                    ),
                    "difference": number(
                        "How far the quantities of a regression are apart, on average; null for other tasks.", null=True
                    ),
                    "cosine": number("The mean cosine of both vectors; null for other tasks.", null=True),
                    "endings_agreed": whole(
                        "Written answers that ended for the same reason, of those compared; null for other tasks.",
                        null=True,
                    ),
                    "stable_tokens": number(
                        "Tokens of the stable version's written answers, on average; null for other tasks.", null=True
                    ),
                    "candidate_tokens": number(
                        "Of the candidate's, which may be twice as many and 64 more; null for other tasks.", null=True
                    ),
                    "dropped": whole(
                        "Calls that were not compared: there was too much to do, the call was too large, or the stable "
                        "version answered with something that cannot be."
                    ),
                },
                null=True,
            ),
            "events": many(
                "What happened, oldest first.",
                thing(
                    "An event.",
                    {
                        "kind": string("What kind of thing.", example="share"),
                        "message": string("In words."),
                        "numbers": mapping("What it was decided by; null where nothing was.", null=True),
                        "created_at": moment("When."),
                    },
                ),
            ),
        },
    ),
)
ROLLOUTS = page_of(ROLLOUT, "Rollouts.")
FEEDBACK = component(
    "Feedback",
    thing(
        "What was said of an answer.",
        {
            "id": string("Its id.", example="fb_01m8hyccpze3abtvcq1zv6743v"),
            "object": one_of("Always `feedback`.", ["feedback"]),
            "request_id": string("The request's id.", example="req_01m8hyccpze3abtvcq1zv6743v"),
            "correct": truth("Whether the answer was right."),
            "label": string("What would have been right; null where that was not said.", null=True),
            "model": string("The name that was called."),
            "arm": string("The side of a rollout that answered; null without one.", null=True),
            "created_at": moment("When it was first said."),
            "changed_at": moment("When it was last changed."),
        },
    ),
)
FEEDBACK_LIST = page_of(FEEDBACK, "Feedback.")
