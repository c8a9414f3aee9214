// A worker that says every two seconds that the page lives, also while a long inference holds the page.

onmessage = ({ data: { url, everyMs } }) => {
  const beat = async () => {
    try {
      const response = await fetch(url, { method: "POST", body: "{}", credentials: "omit" });
      postMessage({ gone: response.status === 410, job: response.ok ? (await response.json()).job : undefined });
    } catch {
      postMessage({ unreachable: true });
    }
    setTimeout(beat, everyMs);
  };
  beat();
};
