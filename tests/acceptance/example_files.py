"""The files of the first example: what a person writes after reading the first page. Names in them are promises."""

from __future__ import annotations

SETTINGS = """
    INSTALLED_APPS += ["django_ais", "your_app", "library"]
    DJANGO_AIS = {"CELERY_QUEUE": "default", "EVENT_CHANNEL_LAYER": "default"}
    # Until the drivers for Celery and Redis are there:
    DJANGO_AIS |= {
        "QUEUES": {"default": "memory", "later": "database"},
        "BUSES": {"default": "database"},
        "GATEWAYS": {
            "default": {"BACKEND": "function", "OPTIONS": {"function": "your_app.compute.summarize"}},
            "script": {"BACKEND": "scripted", "OPTIONS": {"script": [
                {"text": "title", "says": "A storm", "times": 1},
                {"regex": "^busy", "says": {"type": "fault", "code": "rate_limited"}, "times": 1},
            ], "default": "Nothing to say."}},
        },
    }
"""

# Verbatim from the first page; only the output's model is imported from beside it.
WORKERS = """
    from django_ais.workers import BaseWorker
    from django_ais.strategies import BaseStrategy
    from django_ais.gateways import BaseGateway
    from your_app.schemas import SummaryOutput

    class SummarizationStrategy(BaseStrategy):
        def compose_context(self, job):
            return {"prompt": f"Summarize: {job.payload['text']}"}
        def get_output_schema(self):
            return SummaryOutput

    class SummarizationWorker(BaseWorker):
        strategy_class = SummarizationStrategy
        gateway_class = BaseGateway
"""

SCHEMAS = """
    from pydantic import BaseModel


    class SummaryOutput(BaseModel):
        summary: str
        words: int
"""

COMPUTE = '''
    """The gateway of this example: a function of the request, no key needed."""


    def summarize(request):
        text = request.last_user_text.removeprefix("Summarize: ")
        return {"summary": text.split(".")[0] + ".", "words": len(text.split())}
'''

APPS = """
    from django.apps import AppConfig


    class YourAppConfig(AppConfig):
        name = "your_app"

        def ready(self):
            from django_ais import registry
            from your_app.workers import SummarizationWorker

            registry.register("SUMMARIZE", SummarizationWorker)
"""

# The file at the head of the format's page, unchanged.
WORKFLOW = """
    name: document_summarizer
    version: "1.0"
    jobs:
      - type: SUMMARIZE
        worker: your_app.workers.SummarizationWorker
        config:
          max_retries: 3
          timeout: 300
"""

MODELS = """
    from django.db import models


    class Book(models.Model):
        title = models.CharField(max_length=100)


    class Note(models.Model):
        book = models.ForeignKey(Book, models.CASCADE, null=True)
        text = models.TextField()
"""

GATEWAYS = '''
    """Gateways of an application's own: one answers as a whole, one streams."""

    from contextlib import contextmanager
    from pathlib import Path

    from django_ais.gateways import BaseGateway, Finished, GatewayResponse, TextPart, Usage

    SPANS = Path(__file__).with_name("spans.txt")


    class ShoutingGateway(BaseGateway):
        calls_out = False

        async def execute(self, request, context):
            text = TextPart(text=request.last_user_text.upper())
            return GatewayResponse(parts=(text,), usage=Usage(input_tokens=3, output_tokens=4), cost=5)

        @contextmanager
        def trace(self, context, operation, name, attributes):
            with SPANS.open("a") as spans:
                spans.write(f"{operation} {name} {attributes['call_key']}\\n")
            yield


    class SpellingGateway(BaseGateway):
        calls_out = False
        supports_streaming = True

        async def _stream(self, request, context):
            for word in request.last_user_text.split():
                yield f"{word} "
            yield Finished()


    class CountingGateway(SpellingGateway):
        calls = 0

        def stream(self, request, context):
            type(self).calls += 1
            return super().stream(request, context)
'''

LIBRARY_WORKERS = '''
    """Workers that register themselves: by decorator, and by standing here."""

    from django_ais import registry
    from django_ais.gateways import BaseGateway
    from django_ais.retry import Backoff, RetryPolicy
    from django_ais.strategies import BaseStrategy
    from django_ais.workers import BaseWorker, Child
    from library.gateways import CountingGateway, ShoutingGateway
    from library.models import Book, Note
    from pydantic import BaseModel


    class TitleStrategy(BaseStrategy):
        def compose_context(self, job):
            return {"system": "Be brief.", "prompt": f"title of {job.inputs['book']}: {job.payload['pages']} pages"}


    class ReportConfig(BaseModel):
        tone: str = "plain"


    @registry.register("REPORT")
    class ReportWorker(BaseWorker):
        strategy_class = TitleStrategy
        gateway_class = ShoutingGateway
        config_class = ReportConfig
        timeout = 60

        def prepare(self, job):
            return {"book": Book.objects.get(id=job.payload["book"]).title}

        def run(self, job):
            job.progress(1, total=2, message="asking")
            text = job.think()
            pages = job.step("count", lambda: job.payload["pages"] * 2)
            job.emit("x.library.counted", pages=pages)
            return {"text": text, "pages": pages, "tone": job.config.tone}

        def route(self, job, result):
            return [Child(type="library.workers.Pages", payload={"pages": result["pages"] + n}) for n in range(2)]

        def on_done(self, job, result, children):
            counts = sorted(child.result for child in children)
            Note.objects.create(book_id=job.payload["book"], text=f"{result['text']} {counts}")


    class Pages(BaseWorker):
        def run(self, job):
            return job.payload["pages"]


    class AskingStrategy(BaseStrategy):
        def compose_context(self, job):
            return {"prompt": job.payload["prompt"]}


    @registry.register("SPELL")
    class SpellWorker(BaseWorker):
        strategy_class = AskingStrategy
        gateway_class = CountingGateway


    @registry.register("ASK")
    class AskWorker(BaseWorker):
        strategy_class = AskingStrategy
        gateway_class = BaseGateway
        gateway = "script"
        retry_policy = RetryPolicy(max_retries=2, backoff=Backoff(first=0.01))


    @registry.register("FRAGILE")
    class FragileWorker(BaseWorker):
        retry_policy = RetryPolicy(max_retries=1, backoff=Backoff(first=0.01), on_exhausted="suspend")

        def run(self, job):
            if not Note.objects.filter(text="mended").exists():
                raise RuntimeError("broken")
            return "whole"


    @registry.register("DOOMED")
    class DoomedWorker(BaseWorker):
        async def run(self, job):
            raise ValueError("no way")

        async def on_failure(self, job, error):
            await Note.objects.acreate(text=f"{job.type}: {error}")
'''
