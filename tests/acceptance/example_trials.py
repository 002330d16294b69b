"""What the first example's project tries out, each function in a process of its own; what it returns is looked at."""

from __future__ import annotations

VERBS = '''
    """Every verb, as a view or a shell would call it."""

    import time
    from datetime import timedelta

    from django.contrib.auth.models import User
    from django.db import transaction
    from django.utils import timezone
    from django_ais import jobs
    from django_ais.models import AgentEvent, JobPacket
    from library import gateways
    from library.models import Book, Note

    TEXT = {"text": "A storm is coming. Bring the boats in."}


    def dispatch_by_type():
        user = User.objects.get_or_create(username="ann")[0]
        options = {
            "tenant": "acme", "user": user, "idempotency_key": "letter-1", "queue": "default", "priority": 5,
            "run_after": timezone.now() + timedelta(seconds=0.05), "config": {"max_retries": 2, "timeout": 60},
        }
        job = jobs.dispatch("SUMMARIZE", TEXT, **options)
        done = jobs.wait(job, timeout=30)
        again = jobs.dispatch("SUMMARIZE", TEXT, **options)
        theirs = JobPacket.objects.for_tenant("acme").terminal().of_type("SUMMARIZE")
        return {
            "is_packet": isinstance(job, JobPacket), "status": done.status, "result": done.result,
            "same": again.id == job.id, "user": done.user.username, "priority": done.priority, "config": done.config,
            "late": done.started_at >= done.run_after, "theirs": theirs.count(),
            "others": JobPacket.objects.for_tenant("other").count(),
        }


    def dispatch_by_path():
        return jobs.wait(jobs.dispatch("library.workers.Pages", {"pages": 3}), timeout=30).result


    def dispatch_many():
        texts = [{"text": f"Letter {number}. And more."} for number in range(5)]
        with transaction.atomic():
            made = jobs.dispatch_many("SUMMARIZE", texts, tenant="acme", priority=1, config={"max_retries": 1})
        return [jobs.wait(job, timeout=30).result["summary"] for job in made]


    def rolled_back():
        try:
            with transaction.atomic():
                job = jobs.dispatch("SUMMARIZE", TEXT)
                raise LookupError
        except LookupError:
            return JobPacket.objects.filter(id=job.id).exists()


    def start_by_name():
        run = jobs.wait(jobs.start("document_summarizer", TEXT, tenant="acme"), timeout=30)
        (job,) = JobPacket.objects.in_run(run.id).exclude(id=run.id)
        exact = jobs.start("document_summarizer", TEXT, version="1.0", idempotency_key="once", priority=3)
        return {
            "status": run.status, "result": run.result, "job": [job.type, job.worker, job.config, job.status],
            "tenant": job.tenant, "exact": jobs.wait(exact, timeout=30).status,
        }


    def cancel_and_retry():
        job = jobs.dispatch("SUMMARIZE", TEXT, run_after=timezone.now() + timedelta(days=1))
        jobs.cancel(job, reason="not now")
        cancelled = jobs.get(str(job.id))
        again = jobs.wait(jobs.retry(job), timeout=30)
        return [cancelled.status, cancelled.error["message"], again.status, again.retry_of_id == job.id]


    def resume():
        job = jobs.dispatch("FRAGILE")
        until(lambda: jobs.get(job).status == "suspended")
        parked = jobs.get(job)
        Note.objects.create(text="mended")
        jobs.resume(job)
        return [parked.waiting_on["reason"], parked.attempt, jobs.wait(job, timeout=30).result]


    def report():
        book = Book.objects.create(title="Tides")
        job = jobs.wait(jobs.dispatch("REPORT", {"book": book.id, "pages": 4}, config={"tone": "warm"}), timeout=30)
        events = AgentEvent.objects.filter(root=job.id, job=job.id).order_by("seq").values_list("type", flat=True)
        return {
            "result": job.result, "note": Note.objects.get(book=book).text, "events": list(dict.fromkeys(events)),
            "usage": [job.input_tokens, job.output_tokens, job.cost], "spans": gateways.SPANS.read_text().splitlines(),
            "children": sorted(job.children.values_list("result", flat=True)),
            "keys": sorted(job.steps.values_list("key", flat=True)), "id": str(job.id),
        }


    def spell():
        job = jobs.wait(jobs.dispatch("SPELL", {"prompt": "one two three"}), timeout=30)
        deltas = AgentEvent.objects.filter(root=job.id, type="message.delta").order_by("seq")
        return [job.result, "".join(event.data["text"] for event in deltas), gateways.CountingGateway.calls]


    def ask():
        prompts = ("the title, please", "anything else", "busy?")
        done = [jobs.wait(jobs.dispatch("ASK", {"prompt": prompt}), timeout=30) for prompt in prompts]
        return [[job.result, job.attempt] for job in done]


    def doom():
        job = jobs.wait(jobs.dispatch("DOOMED"), timeout=30)
        return [job.status, job.error["message"], Note.objects.filter(text="DOOMED: no way").count()]


    def elsewhere():
        job = jobs.wait(jobs.dispatch("SUMMARIZE", TEXT, queue="later"), timeout=30)
        return [job.status, job.result["summary"]]


    def until(question):
        end = time.monotonic() + 20
        while not question():
            assert time.monotonic() < end, "waited in vain"
            time.sleep(0.02)
'''

ASYNC_VERBS = '''
    """The same for async code."""

    import asyncio
    from datetime import timedelta

    from django.utils import timezone
    from django_ais import jobs
    from library.models import Note
    from library.trials import TEXT


    def twins_of_all():
        return asyncio.run(twins())


    async def twins():
        job = await jobs.adispatch("SUMMARIZE", TEXT, tenant="acme")
        many = await jobs.adispatch_many("SUMMARIZE", [TEXT, TEXT])
        run = await jobs.astart("document_summarizer", TEXT)
        late = await jobs.adispatch("SUMMARIZE", TEXT, run_after=timezone.now() + timedelta(days=1))
        await jobs.acancel(late)
        return {
            "dispatch": (await jobs.await_(job, timeout=30)).status,
            "many": [(await jobs.await_(one, timeout=30)).status for one in many],
            "start": (await jobs.await_(run, timeout=30)).result["words"],
            "cancel": (await jobs.aget(late)).status,
            "retry": (await jobs.await_(await jobs.aretry(late), timeout=30)).status,
            "resume": await resumed(),
        }


    async def resumed():
        await Note.objects.filter(text="mended").adelete()
        job = await jobs.adispatch("FRAGILE")
        async with asyncio.timeout(20):
            while (await jobs.aget(job)).status != "suspended":
                await asyncio.sleep(0.02)
        await Note.objects.acreate(text="mended")
        await jobs.aresume(job)
        return (await jobs.await_(job, timeout=30)).result
'''
