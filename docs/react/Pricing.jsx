"use client";

import { useEffect, useMemo, useState } from "react";
import { createBilling } from "./billing.js";

// plans: [{ key: "pro", name: "Pro", offers: [{ plan: "pro", label: "$9 a month" }, { plan: "pro:pro_yearly", label: ... }] }]
export default function Pricing({ billingUrl, plans, signInUrl, tokenUrl }) {
  const billing = useMemo(() => createBilling(billingUrl, tokenUrl), [billingUrl, tokenUrl]);
  const [access, setAccess] = useState(null); // null until known
  const [isSignedIn, setIsSignedIn] = useState(true);
  const [isBusy, setIsBusy] = useState(false);
  const [problem, setProblem] = useState(null);

  const fail = (error) => (error.status === 401 ? setIsSignedIn(false) : setProblem(error.message));

  useEffect(() => {
    let isCurrent = true;
    const look = async () => {
      try {
        const found = await billing.access();
        if (isCurrent) setAccess(found);
      } catch (error) {
        if (isCurrent) fail(error);
      }
    };
    const comeBack = (event) => {
      if (!event.persisted) return; // only for a page that the browser kept while the visitor was at Stripe
      setIsBusy(false);
      look();
    };
    look();
    window.addEventListener("pageshow", comeBack);
    return () => {
      isCurrent = false;
      window.removeEventListener("pageshow", comeBack);
    };
  }, [billing]);

  async function lead(go) {
    setIsBusy(true); // until the browser leaves the page
    setProblem(null);
    try {
      await go();
    } catch (error) {
      setIsBusy(false);
      fail(error);
    }
  }

  return (
    <section aria-label="Pricing" aria-busy={isBusy}>
      {problem && <p role="alert">{problem}</p>}
      {!isSignedIn && <a href={signInUrl}>Sign in to subscribe</a>}
      {access?.status && (
        <p>
          {access.allowed ? `You are on ${access.plan}.` : "Your subscription is not active."}{" "}
          <button disabled={isBusy} onClick={() => lead(() => billing.portal())}>
            Manage billing
          </button>
        </p>
      )}
      {plans.map(({ key, name, offers }) => (
        <article key={key} aria-label={name}>
          <h2>{name}</h2>
          {access?.allowed && access.plan === key && <p>Your plan</p>}
          {offers.map(({ plan, label }) => (
            <button key={plan} disabled={isBusy || !isSignedIn} onClick={() => lead(() => billing.checkout(plan))}>
              {label}
            </button>
          ))}
        </article>
      ))}
    </section>
  );
}
