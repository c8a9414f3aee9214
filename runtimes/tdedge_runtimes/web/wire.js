// Requests to the computer. All addresses are relative to the page's own, which holds the token.

/** The computer no longer needs this page. */
export class GoneError extends Error {}

async function checked(response) {
  if (response.status === 410) throw new GoneError("no longer needed");
  if (response.ok) return response;
  let reason = `the computer answered ${response.status}`;
  let wrong = false;
  try {
    reason = (await response.json()).error;
    wrong = response.status === 422;
  } catch {
    // The status alone, then.
  }
  throw Object.assign(new Error(reason), { wrong });
}

function address(name, query) {
  const text = new URLSearchParams(query).toString();
  return text ? `${name}?${text}` : name;
}

/** Ask for something. */
export async function get(name, query = {}) {
  return checked(await fetch(address(name, query), { credentials: "omit" }));
}

/** Post a document, or bytes as they are. */
export async function post(name, query, body) {
  const isBytes = body instanceof Blob;
  const sent = isBytes ? body : JSON.stringify(body ?? {});
  return checked(await fetch(address(name, query), { method: "POST", body: sent, credentials: "omit" }));
}
