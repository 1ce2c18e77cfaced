"""What `/v1/deployments` answers, field by field, for the API reference."""

from kit.schema import component, deleted, many, moment, number, one_of, page_of, string, thing, truth, whole
from serving.models import Deployment

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
    "created_at": moment("When it was asked for."),
    "live_at": moment("When it went live; null until then.", null=True),
    "ended_at": moment("When it ended; null until then.", null=True),
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
