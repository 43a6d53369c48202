/** The element of the page with an id. */
export function byId<Kind extends HTMLElement>(id: string): Kind {
  return document.getElementById(id) as Kind;
}

/** Makes an element. Strings become text nodes: nothing that a model says becomes markup. */
export function element<Name extends keyof HTMLElementTagNameMap>(
  name: Name,
  className: string,
  ...children: readonly (Node | string)[]
): HTMLElementTagNameMap[Name] {
  const made = document.createElement(name);
  made.className = className;
  made.append(...children);
  return made;
}

/** A row of a table whose first cell is its head. */
export function tableRow(head: string, ...cells: readonly (Node | string)[]): HTMLTableRowElement {
  const first = element('th', '', head);
  first.scope = 'row';
  return element('tr', '', first, ...cells.map((cell) => element('td', '', cell)));
}
