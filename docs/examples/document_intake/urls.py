"""The addresses of the demo's site."""

from django.urls import include, path

from document_intake import chat, site

urlpatterns = [
    path("", site.home, name="home"),
    path("sign-in/<str:token>/", site.sign_in, name="sign-in"),
    path("runs/<uuid:run>/", site.run_page, name="run"),
    path("runs/<uuid:run>/again/", site.start_another, name="again"),
    path("chat/<str:front_end>/", chat.new, name="new-chat"),
    path("chat/<str:front_end>/<uuid:conversation>/", chat.conversation, name="chat"),
    path("restart/", site.restart_server, name="restart"),
    path("ais/", include("django_ais.urls")),
]
