"""A host with callbacks: it prints the id of each notice, and can hang in the callback."""

import sys
import time

from corkage import Billing, Config
from corkage.notices import notice


def say(text):
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


notice.QUIET_SECONDS = 0
billing = Billing(Config.from_env())


@billing.on("*")
def hear(notice):
    say(f"{notice.id} {notice.kind} {notice.user_id}")
    time.sleep(float(sys.argv[1]))


billing.start()
say("listening")
time.sleep(120)
