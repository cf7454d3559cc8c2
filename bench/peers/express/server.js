// What the well-known tutorials build: Express, stripe-node and one table of users, written for the comparison.
//
// Inherent in the design, and left as it is:
// - State is taken from the event's payload, so an older event that comes later puts the older state back.
// - One subscription per user: the end of an old one takes away what a newer one gives.
// - A subscription without the user's id in its metadata is lost when it comes before checkout.session.completed.
// - A webhook that never comes is never made up for.
// - checkout.session.completed and invoice.paid name the subscription only, so Stripe is asked while it waits.
const express = require("express");
const jwt = require("jsonwebtoken");
const Stripe = require("stripe");
const { open, statements, accessOf } = require("./database");

const { PORT, DATABASE, STRIPE_SECRET_KEY, STRIPE_WEBHOOK_SECRET, STRIPE_API_BASE, AUTH_SECRET } = process.env;

const db = open(DATABASE);
const sql = statements(db);
const stripe = new Stripe(STRIPE_SECRET_KEY, { ...addressOf(STRIPE_API_BASE), telemetry: false });

function addressOf(base) {
  if (!base) return {};
  const { protocol, hostname, port } = new URL(base);
  return { protocol: protocol.slice(0, -1), host: hostname, ...(port && { port }) };
}

// What the event says, or what Stripe says of the subscription it names; null when there is nothing to write.
async function changeOf(event) {
  const object = event.data.object;
  switch (event.type) {
    case "checkout.session.completed": {
      if (!object.subscription) return null;
      const subscription = await stripe.subscriptions.retrieve(object.subscription);
      return saving(subscription, object.metadata?.corkage_user ?? object.client_reference_id);
    }
    case "customer.subscription.created":
    case "customer.subscription.updated":
    case "customer.subscription.deleted":
      return saving(object);
    case "invoice.paid": {
      const subscription = object.parent?.subscription_details?.subscription;
      return subscription ? saving(await stripe.subscriptions.retrieve(subscription)) : null;
    }
    case "invoice.payment_failed":
      return () => sql.setStatus.run("past_due", object.customer);
    default:
      return null;
  }
}

function saving(subscription, buyer) {
  const item = subscription.items.data[0];
  return () => {
    const user = subscription.metadata.corkage_user ?? buyer ?? sql.userOfCustomer.get(subscription.customer);
    if (!user) return;
    sql.saveSubscription.run({
      user,
      customer: subscription.customer,
      subscription: subscription.id,
      price: item.price.id,
      status: subscription.status,
      periodEnd: item.current_period_end,
      cancels: Number(subscription.cancel_at_period_end),
    });
  };
}

// The event and what it changes are one commit, so that an event which failed is taken again when it comes again.
const apply = db.transaction((event, change) => {
  const isNew = sql.recordEvent.run(event.id, event.type).changes === 1;
  if (isNew && change) change();
});

const app = express();

app.post("/webhook", express.raw({ type: "application/json" }), async (req, res) => {
  let event;
  try {
    event = stripe.webhooks.constructEvent(req.body, req.headers["stripe-signature"], STRIPE_WEBHOOK_SECRET);
  } catch (error) {
    return res.status(400).send(`Webhook Error: ${error.message}`);
  }
  apply(event, await changeOf(event));
  res.json({ received: true });
});

app.get("/access", (req, res) => {
  const token = (req.headers.authorization ?? "").replace(/^Bearer /, "");
  let claims;
  try {
    claims = jwt.verify(token, AUTH_SECRET, { algorithms: ["HS256"], audience: "corkage" });
  } catch {
    return res.status(401).json({ error: "unauthorized" });
  }
  res.json(accessOf(sql, claims.sub));
});

app.get("/health", (req, res) => res.json({ ok: true }));

const server = app.listen(Number(PORT), "127.0.0.1");
process.on("SIGTERM", () => server.close(() => process.exit(0)));
