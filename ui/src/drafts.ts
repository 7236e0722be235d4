// What was filled in when a session ended: kept in this tab until its reader is back on the page, then put in place.
// Never a password, a file or a hidden field; never for another person, who signed in after.
const KEY = "coldgrid.draft";
type Control = HTMLInputElement | HTMLSelectElement | HTMLTextAreaElement;
type Kept = { name: string; values: string[]; on: boolean };
type Draft = { who: string; at: string; action: string; fields: Kept[]; lost: boolean };

const who = () => document.querySelector<HTMLMetaElement>('meta[name="who"]')?.content ?? "";
const here = () => location.pathname + location.search;
const skipped = new Set(["hidden", "password", "file", "submit", "button", "reset", "image", "search"]);
const touched = new Set<HTMLFormElement>();

const controls = (form: HTMLFormElement) =>
  [...form.elements].filter((e): e is Control => e instanceof HTMLInputElement || e instanceof HTMLSelectElement || e instanceof HTMLTextAreaElement)
    .filter((e) => e.name && !skipped.has(e.type));
const ticks = (e: Control): e is HTMLInputElement => e.type === "checkbox" || e.type === "radio";
const valuesOf = (e: Control) => (e instanceof HTMLSelectElement ? [...e.selectedOptions].map((o) => o.value) : [e.value]);

/** Keep what a form holds. `lost`: it is known that the form did not get through. */
function keep(form: HTMLFormElement, lost: boolean) {
  const fields = controls(form).map((e) => ({ name: e.name, values: valuesOf(e), on: ticks(e) && e.checked }));
  if (!who() || !fields.length) return;
  const draft: Draft = { who: who(), at: here(), action: form.getAttribute("action") ?? "", fields, lost };
  try { sessionStorage.setItem(KEY, JSON.stringify(draft)); } catch { /* no room, or forbidden: nothing is kept */ }
}

/** Keep what is being filled in, before the page is left for the sign-in. */
export function keepTouched() {
  for (const form of touched) if (form.isConnected) keep(form, true);
}

document.addEventListener("input", (e) => {
  const form = (e.target as Partial<Control>).form;
  if (form?.method === "post") touched.add(form);
});
document.addEventListener("submit", (e) => {
  const form = e.target as HTMLFormElement;
  if (form.method === "post" && touched.has(form)) keep(form, false);
});

function fill(form: HTMLFormElement, fields: Kept[]) {
  const left = [...fields];
  for (const e of controls(form)) {
    const place = left.findIndex((f) => f.name === e.name && (!ticks(e) || f.values[0] === e.value));
    if (place < 0) continue;
    const [kept] = left.splice(place, 1);
    if (ticks(e)) e.checked = kept.on;
    else if (e instanceof HTMLSelectElement) for (const o of e.options) o.selected = kept.values.includes(o.value);
    else e.value = kept.values[0];
    e.dispatchEvent(new Event("change", { bubbles: true }));
  }
  touched.add(form);
}

// A refused form is shown at the address that it was sent to, below the page that it is on.
/** On every page: a sign-in or a refusal says that the draft was lost; the page it is of takes it back; any other ends it. */
export function restore(): boolean {
  let draft: Draft | null = null;
  try { draft = JSON.parse(sessionStorage.getItem(KEY) ?? "null") as Draft | null; } catch { /* not ours */ }
  if (!draft) return false;
  if (document.querySelector(".sign-in, .refusal")) {
    if (who() && who() !== draft.who) sessionStorage.removeItem(KEY);
    else if (!draft.lost) sessionStorage.setItem(KEY, JSON.stringify({ ...draft, lost: true }));
    return false;
  }
  sessionStorage.removeItem(KEY);
  const forms = [...document.querySelectorAll<HTMLFormElement>('form[method="post"]')];
  const form = forms.find((f) => (f.getAttribute("action") ?? "") === draft.action && controls(f).length);
  if (!draft.lost || draft.who !== who() || !(draft.at === here() || draft.at.startsWith(`${location.pathname}/`)) || !form) return false;
  fill(form, draft.fields);
  return true;
}
