/* How an event becomes a row of the replica: the protocol of sync/, for Spin. docs/protocol.md explains it.
 *
 * One customer, whose state at Stripe changes three times. Each change makes one event. Two workers, and one link by
 * hand. Any process may crash at any step, any call may fail, and any delivery may be cut, as often as Spin likes.
 *
 * Time is left out: whatever takes time may take any time. A lease may end while its worker still works.
 * The state of a customer is one number, the number of changes, and one fetch reads it at one moment.
 * Left out, since each only makes one more fetch: stale subscriptions, a visitor's return, debounce, the daily jobs.
 *
 * Each guard has a name. -DNO_<name> removes it; bin/protocol does so for each in turn.
 */

#ifndef EVENTS
#define EVENTS 3
#endif
#define ALL ((1 << EVENTS) - 1)  /* the set of all events, a bit for each */
#define BIT(n) (1 << ((n) - 1))
#define LINK 3    /* the process that links by hand; the workers are 1 and 2 */
#define NOBODY 0  /* owners of the customer: nobody, the user of before, and the user of the link by hand */
#define BEFORE 1
#define LINKED 2

byte version;     /* Stripe: how often the customer's state has changed */
byte acked;       /* Stripe: the events that were answered with 200 */
byte over;        /* Stripe: the events that it delivers no more */

byte inbox;       /* corkage_stripe_event: the rows */
byte pending;     /* ... those with applied_at IS NULL */
byte waits;       /* ... those of them with next_attempt_at in the future: leased, or postponed after a failure */
byte stored;      /* the replica: the version that was stored last; corkage_customer.fetched_at says as much */
bool known;       /* corkage_customer.fetched_at IS NOT NULL */
byte owner;       /* corkage_customer.user_id */
bool linked;      /* the link by hand is done */

/* What each converge holds in memory. corkage_customer.revision only grows, so "it is as read" is one bit for each
 * reader, which every rise of the revision clears. */
byte fresh;
byte mine[4];     /* the pending events that were read */
byte seen[4];     /* the version that was fetched */
byte held[4];     /* the owner that was read */
bool skips[4];    /* nothing is fetched: the customer belongs to nobody */

/* With LIVE, faults end at some time; without, they never do. */
#ifdef LIVE
byte faults = 2;
#define FAULT faults > 0 -> faults--
#else
#define FAULT true
#endif

#define IS_AS_READ(me) ((fresh & BIT(me)) != 0)
#ifdef NO_ONE_TRANSACTION  /* then a worker may still store what it marked */
#define IS_OVER (over == ALL && pending == 0 && linked && fresh == 0)
#else
#define IS_OVER (over == ALL && pending == 0 && linked)
#endif

/* What an overtaken reader holds changes nothing any more. The model forgets it, so that there are fewer states. */
#ifdef NO_REVISION_FIRST
#define MATTERS(me) true
#else
#define MATTERS(me) IS_AS_READ(me)
#endif

inline forget(me) { mine[me] = 0; seen[me] = 0; held[me] = 0; skips[me] = false; fresh = fresh & ~BIT(me) }

inline raise_revision() {
#ifdef NO_COMPARE_AND_SET
	skip
#elif defined(NO_REVISION_FIRST)
	fresh = 0
#else
	forget(1); forget(2); forget(LINK)
#endif
}

/* inbox.record(): _RECORD, one statement. An event from before the last fetch is old news, and stored as applied. */
inline record(n) {
	if
	:: inbox & BIT(n) ->  /* ON CONFLICT DO NOTHING */
#ifdef NO_DUPLICATES
		pending = pending | BIT(n); waits = waits & ~BIT(n);
		printf("MSC: event %d is stored again, as pending\n", n)
#else
		skip
#endif
	:: !(inbox & BIT(n)) ->
		inbox = inbox | BIT(n);
		if
		/* fetched_at >= created + CERTAIN_SECONDS: then the fetch came after the change. Whether so many seconds
		 * have passed is left open. Without the margin, one second holds the fetch and then the change. */
#ifdef NO_MARGIN
		:: n <= stored + 1 && known ->
#else
		:: n <= stored ->
#endif
			printf("MSC: event %d is stored as old news\n", n);
			assert(stored >= n)  /* old news is in the replica */
		:: true ->
			pending = pending | BIT(n);
			printf("MSC: event %d is stored\n", n)
		fi
	fi
}

/* One event, from the change at Stripe to the end of its deliveries: handlers/webhook.py, receive_webhook(). What
 * poll() finds in Stripe's list is stored by the same statement, and stands for one delivery more. */
proctype Event(byte n) {
	atomic { version == n - 1 -> version = n; printf("MSC: Stripe: change %d\n", n) }
#ifdef NO_INBOX_BEFORE_200
	atomic { acked = acked | BIT(n); printf("MSC: event %d is answered with 200\n", n) }
#endif
	if
#if defined(NO_REDELIVERY) || defined(NO_INBOX_BEFORE_200)
	:: atomic { FAULT -> over = over | BIT(n); printf("MSC: the delivery of event %d is cut\n", n); goto ends }
#endif
	:: atomic { record(n) }  /* also after deliveries that were cut before the commit */
	fi;
	do
#ifdef NO_REDELIVERY
	:: atomic { FAULT -> over = over | BIT(n); printf("MSC: the response to event %d is lost\n", n); break }
#else
	:: atomic { FAULT -> printf("MSC: the response to event %d is lost\n", n); record(n) }  /* delivered again */
#endif
	:: atomic { acked = acked | BIT(n); over = over | BIT(n); printf("MSC: event %d is answered with 200\n", n); break }
	od;
ends:	skip
}

/* Converger.converge(): read the revision, read the pending events, fetch, store. Who is killed, or whom Stripe fails,
 * goes on at `failed`: inbox.postpone() lets the events wait, as the lease does, until they are due. */
inline converge(me) {
	/* held = replica.read(customer_id) */
	atomic {
		fresh = fresh | BIT(me);
		held[me] = owner;
		skips[me] = (me != LINK && owner == NOBODY && known)  /* the first lines of Converger._fetch() */
	}
	/* pending = inbox.pending_of(...) */
	atomic {
		if
		:: MATTERS(me) -> mine[me] = pending
		:: !MATTERS(me) -> skip
		fi
	}
	/* fetched = self._fetch(...) */
	if
	:: atomic { FAULT -> forget(me); printf("MSC: W%d fails\n", me); goto failed }
	:: atomic { !MATTERS(me) -> skip }
	:: atomic { MATTERS(me) && skips[me] -> printf("MSC: W%d fetches nothing: nobody owns the customer\n", me) }
	:: atomic { MATTERS(me) && !skips[me] -> seen[me] = version; printf("MSC: W%d fetches state %d\n", me, version) }
	fi;
#ifdef NO_REVISION_FIRST
	fresh = fresh | BIT(me);
#endif
	/* outcome = self._store(...), which is Converger.compare_and_set() in one transaction */
	if
	:: atomic { FAULT -> forget(me); printf("MSC: W%d fails\n", me); goto failed }
	:: atomic { !IS_AS_READ(me) -> forget(me); printf("MSC: W%d was overtaken\n", me); goto again }  /* _TAKE_TURN */
	:: atomic { IS_AS_READ(me) ->
#ifdef NO_ONE_TRANSACTION
		mark(me);
		fresh = BIT(me);
		printf("MSC: W%d marks its events applied\n", me) };
	if
	:: atomic { FAULT -> forget(me); printf("MSC: W%d fails\n", me); goto failed }
	:: atomic { IS_AS_READ(me) ->
		store(me);
		printf("MSC: W%d stores state %d\n", me, stored);
		raise_revision();
		forget(me) }
	fi
#else
		store(me);
		mark(me);
		printf("MSC: W%d stores state %d and marks its events applied\n", me, stored);
		raise_revision();
		forget(me) }
#endif
	fi
}

inline store(me) {
#ifndef ANY_OWNER
	assert(held[me] == owner);  /* computed for the owner of now */
#endif
	if
	:: skips[me] -> skip
	:: !skips[me] ->
		assert(seen[me] >= stored);  /* never older than what was stored before */
		stored = seen[me];
		known = true
	fi
}

/* inbox.mark_applied(): _MARK_APPLIED */
inline mark(me) {
#ifdef NO_PENDING_FIRST
	mine[me] = pending;
#endif
	assert((mine[me] & ~pending) == 0);  /* each event is applied once */
	assert(skips[me] || (mine[me] >> seen[me]) == 0);  /* by a fetch that began after its change */
	pending = pending & ~mine[me];
	waits = waits & ~mine[me]
}

/* A worker of sync/worker.py, in whatever process: Worker._jobs(), then _apply(). */
proctype Worker(byte me) {
failed:
	do
	/* _lease() -> inbox.lease(), _LEASE: all due events of the customer, in one transaction */
	:: atomic { (pending & ~waits) != 0 ->
#ifndef NO_LEASE
		waits = waits | pending;
#endif
		printf("MSC: W%d leases what is due\n", me) };
again:		converge(me)
	:: atomic { IS_OVER ->
		assert((acked & ~inbox) == 0);  /* what was acknowledged is on disk */
		assert(stored == version);  /* the replica equals Stripe's final state */
		break }
	od
}

/* Time passes: next_attempt_at <= now. */
active proctype Clock() {
	do
#ifndef NO_LEASE_EXPIRY
	:: atomic { waits != 0 -> waits = 0; printf("MSC: the lease or the pause is over\n") }
#endif
	:: IS_OVER -> break
	od
}

/* Converger.link(): `corkage link`, or the operator's page. Who sees it fail does it again. */
proctype Link() {
#ifndef NO_LINK_AGAIN
failed:
#endif
	atomic {
		owner = LINKED;  /* _assign() */
#ifndef NO_OVERTAKING
		raise_revision();  /* _overtake() */
#endif
		printf("MSC: W%d assigns the customer\n", LINK)
	}
again:	converge(LINK);
#ifdef NO_LINK_AGAIN
failed:
#endif
	linked = true
}

init {
	atomic {
		if
		:: owner = NOBODY
		:: owner = BEFORE; known = true  /* Converger.adopt() at its first checkout */
		fi;
		run Event(1);
#if EVENTS > 1
		run Event(2);
#endif
#if EVENTS > 2
		run Event(3);
#endif
		run Worker(1); run Worker(2); run Link()
	}
}

#ifdef LIVE
ltl ends_well { <> (IS_OVER && stored == version) }
#endif
