import bottle

from models import users


def sign_in():
    bottle.response.set_cookie("session", users.begin_session(bottle.request.forms.name), path="/", httponly=True)
