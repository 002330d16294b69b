"""The project's URLconf includes these: ``path("ais/", include("django_ais.urls"))``."""

from django.urls import path

from django_ais import views
from django_ais.frontends import views as frontends

app_name = "django_ais"

urlpatterns = [
    path("runs/<uuid:run>/events", views.events, name="events"),
    path("runs/<uuid:run>/ticket", views.ticket, name="ticket"),
    path("agui/<str:workflow>", frontends.agui, name="agui"),
    path("agui/runs/<uuid:run>/connect", frontends.agui_connect, name="agui_connect"),
    path("ai-sdk/<str:workflow>/chat", frontends.ai_sdk, name="ai_sdk"),
    path("ai-sdk/<str:workflow>/chat/<str:chat>/stream", frontends.ai_sdk_stream, name="ai_sdk_stream"),
    path("jobs/<uuid:job>", views.job, name="job"),
    path("jobs/<uuid:job>/cancel", views.cancel, name="cancel"),
    path("jobs/<uuid:job>/retry", views.retry, name="retry"),
    path("jobs/<uuid:job>/resume", views.resume, name="resume"),
]
