// A product on Node beside `corkage serve`, by the recipes of docs/sidecar.md. The header X-User stands for a sign-in.
import { createServer } from "node:http";
import { corkageToken, use } from "./recipes.mjs";

const { CORKAGE_URL, BILLING_AUTH_SECRET } = process.env;

async function ask(user, path, body) {
  const token = corkageToken({ id: user }, BILLING_AUTH_SECRET);
  const headers = { Authorization: `Bearer ${token}`, Accept: "application/json", "Content-Type": "application/json" };
  const method = body ? "POST" : "GET";
  return (await fetch(CORKAGE_URL + path, { method, headers, body: body && JSON.stringify(body) })).json();
}

const ROUTES = {
  "/buy": (user, wanted) => ask(user, "/checkout", wanted),
  "/me": (user) => ask(user, "/access"),
  "/use": (user, wanted) => use({ id: user }, wanted.name, wanted.amount, wanted.key ?? undefined),
};

const server = createServer(async (request, response) => {
  let body = "";
  for await (const part of request) body += part;
  const answer = await ROUTES[request.url](request.headers["x-user"], body ? JSON.parse(body) : null);
  response.end(JSON.stringify(answer));
});
server.listen(0, "127.0.0.1", () => console.log(`http://127.0.0.1:${server.address().port}`));
