// A small product with stripe-node of any major since 17, as its owner would write it. Prints what it saw.
// Run with the simulator's URL and the name of the package, from a NODE_PATH that has it.
const http = require("node:http");
const Stripe = require(process.argv[3]);

const url = new URL(process.argv[2]);
const CARD = { number: "4242424242424242", expiry: "12/40", cvc: "123" };
const received = [];

const server = http.createServer((request, response) => {
  const parts = [];
  request.on("data", (part) => parts.push(part));
  request.on("end", () => {
    received.push([Buffer.concat(parts), request.headers["stripe-signature"]]);
    response.end();
  });
});

// Pay on the hosted page, and return where it sends the visitor.
async function pay(page) {
  const answer = await fetch(page, { method: "POST", body: new URLSearchParams(CARD), redirect: "manual" });
  return answer.headers.get("Location");
}

// Return the end of the period, which moved to the items in basil.
function periodEnd(subscription) {
  const isTop = "current_period_end" in subscription;
  return [isTop, (isTop ? subscription : subscription.items.data[0]).current_period_end];
}

async function main() {
  await new Promise((resolve) => server.listen(0, "127.0.0.1", resolve));
  const options = { host: url.hostname, port: url.port, protocol: "http", telemetry: false };
  const stripe = new Stripe("sk_test_story", options);
  const version = stripe.getApiField("version");

  const hook = `http://127.0.0.1:${server.address().port}/webhook`;
  const endpoint = await stripe.webhookEndpoints.create({ url: hook, enabled_events: ["*"], api_version: version });
  const product = await stripe.products.create({ name: "Gold" });
  const recurring = { interval: "month" };
  const price = await stripe.prices.create({ product: product.id, currency: "usd", unit_amount: 900, recurring });
  const customer = await stripe.customers.create({ email: "ann@example.com", payment_method: "pm_card_visa" });
  const subscription = await stripe.subscriptions.create({
    customer: customer.id,
    items: [{ price: price.id }],
    default_payment_method: "pm_card_visa",
    expand: ["latest_invoice"],
  });
  let session = await stripe.checkout.sessions.create({
    mode: "subscription",
    customer: customer.id,
    line_items: [{ price: price.id, quantity: 1 }],
    success_url: "https://example.com/back",
    ui_mode: version < "2026-03-25" ? "hosted" : "hosted_page",
  });
  const sentTo = await pay(session.url);
  session = await stripe.checkout.sessions.retrieve(session.id);
  const invoices = [];
  for await (const each of stripe.invoices.list({ customer: customer.id, limit: 1 })) invoices.push(each);
  const canceled = await stripe.subscriptions.cancel(subscription.id);

  const events = {};
  let last;
  while (!("customer.subscription.deleted" in events && "checkout.session.completed" in events)) {
    while (!received.length) await new Promise((resolve) => setTimeout(resolve, 5));
    last = received.shift();
    const event = stripe.webhooks.constructEvent(last[0], last[1], endpoint.secret);
    events[event.type] = event;
  }
  let refused = false;
  try {
    stripe.webhooks.constructEvent(last[0], last[1], "whsec_of_somebody_else");
  } catch (error) {
    refused = error instanceof Stripe.errors.StripeSignatureVerificationError;
  }

  const [isTop, end] = periodEnd(subscription);
  const [wasTop, ended] = periodEnd(events["customer.subscription.deleted"].data.object);
  const seen = {
    version,
    statuses: [subscription.status, subscription.latest_invoice.status, session.status, canceled.status],
    period_is_on_the_subscription: [isTop, wasTop],
    period_ends: [end, ended],
    paid_subscription: session.subscription,
    sent_to: sentTo,
    ui_mode: session.ui_mode,
    invoices: invoices.map((each) => [each.total, "parent" in each, "subscription" in each]),
    event_versions: [...new Set(Object.values(events).map((event) => event.api_version))].sort(),
    wrong_secret_is_refused: refused,
  };
  process.stdout.write(JSON.stringify(seen), () => process.exit(0));
}

main().catch((error) => {
  console.error(error);
  process.exit(1);
});
