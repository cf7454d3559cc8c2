// What a page asks of Corkage. `url` is BILLING_URL; `tokenUrl` is where your own server hands the signed-in user's token
// to the page, as {"token"}: for a Corkage that your cookie does not reach.
export function createBilling(url, tokenUrl) {
  async function ask(address, options) {
    const answer = await fetch(address, options);
    const said = await answer.json().catch(() => ({})); // a proxy's own page is no JSON
    if (answer.ok) return said;
    const { code, message = "Billing cannot be reached at the moment." } = said.error ?? {};
    const retryAfter = Number(answer.headers.get("Retry-After")) || undefined;
    throw Object.assign(new Error(message), { status: answer.status, code, retryAfter });
  }

  async function call(path, body) {
    const headers = { Accept: "application/json" };
    if (tokenUrl) headers.Authorization = `Bearer ${(await ask(tokenUrl)).token}`;
    if (body) headers["Content-Type"] = "application/json";
    const method = body ? "POST" : "GET";
    return ask(url + path, { method, headers, body: body && JSON.stringify(body), credentials: "include" });
  }

  return {
    access: () => call("/access"), // { allowed, reason, plan, features, until, ... }
    async checkout(plan) {
      const go = async (more) => location.assign((await call("/checkout", { plan, ...more })).url);
      await go().catch((error) => { // who may pay already is asked before they pay again
        if (error.code !== "maybe_subscribed" || !confirm(error.message)) throw error;
        return go({ again: "yes" });
      });
    },
    portal: async (flow) => location.assign((await call("/portal", flow ? { flow } : {})).url),
  };
}
