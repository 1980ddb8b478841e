"""Live lists -> the week's e-mail and push messages: an outbox in object storage, with a preview to look at.

**What it does.** On Monday morning, after the night's lists are live, it picks items for every user: reminders of what
was put into a basket, clicked or viewed and not bought, then picks from the lists, without what last week's mailing
held and without users who have opted out. The messages of the week go to `<domain>/outbox/<Monday>/`, manifest last;
nothing is sent from here. The report links the preview; `sluice mailing preview` opens the newest.

**Backfill.** Trigger it with `end` = the moment to prepare for: its week's outbox is replaced, and repeats are looked
for in earlier weeks only. Lists must not be newer than `end`: score that moment first. Run again on the same inputs it
does nothing.

**When it is red.** An outbox without a manifest is not whole and is not sent: clear the task. *Lists that are not
served*: the release was rolled back or is not out yet; publish, or activate it, then clear the task. Object storage,
Redis or Spark down: `make up`, then clear. To stop mail to one user: `sluice mailing opt-out USER`, at once.
"""

from airflow.sdk import dag

from dags.lib.tasks import AFTER_THE_CHAIN, DEFAULTS, at, run_job, window_params


@dag(
    schedule=at("30 7 * * 1"),
    catchup=False,
    max_active_runs=1,
    default_args=DEFAULTS,
    params=window_params("publish.prepare_mailings"),
    tags=["retail", "publish", "mailing"],
    doc_md=__doc__,
)
def prepare_mailings() -> None:
    run_job("publish.prepare_mailings", priority="mail", **AFTER_THE_CHAIN)


prepare_mailings()
