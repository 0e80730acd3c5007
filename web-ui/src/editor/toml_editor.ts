/**
 * A text field for TOML with line numbers and marks at lines that have problems: CodeMirror, which is loaded when it is first needed.
 *
 * It lies in a shadow root, because only there does CodeMirror bring its styles in a way that the page's policy allows.
 */

import { defaultKeymap, history, historyKeymap } from '@codemirror/commands';
import { HighlightStyle, StreamLanguage, syntaxHighlighting } from '@codemirror/language';
import { toml } from '@codemirror/legacy-modes/mode/toml';
import { lintGutter, setDiagnostics, type Diagnostic } from '@codemirror/lint';
import { EditorState } from '@codemirror/state';
import { EditorView, keymap, lineNumbers } from '@codemirror/view';
import { tags } from '@lezer/highlight';

/** What is wrong at a line, which counts from 1. */
export interface LineProblem {
  line: number;
  message: string;
}

export interface TomlEditor {
  text(): string;
  setText(text: string): void;
  showProblems(problems: LineProblem[]): void;
  focusLine(line: number): void;
  destroy(): void;
}

const COLOURS = HighlightStyle.define([
  { tag: tags.comment, color: 'var(--text-muted)', fontStyle: 'italic' },
  { tag: [tags.string, tags.special(tags.string)], color: 'var(--good)' },
  { tag: [tags.atom, tags.number, tags.bool], color: 'var(--warn)' },
  { tag: [tags.propertyName, tags.definition(tags.propertyName)], color: 'var(--accent)' },
]);

const LOOK = EditorView.theme({
  '&': { color: 'var(--text)', backgroundColor: 'var(--surface)', fontSize: '0.875rem' },
  '&.cm-focused': { outline: '2px solid var(--focus)', outlineOffset: '-2px' },
  '.cm-scroller': { fontFamily: 'var(--mono)', lineHeight: '1.55', maxHeight: '32rem', overflow: 'auto' },
  '.cm-content': { minHeight: '10rem', caretColor: 'var(--text)' },
  '.cm-gutters': {
    backgroundColor: 'var(--surface-sunk)',
    color: 'var(--text-muted)',
    borderRight: '1px solid var(--border)',
  },
  '.cm-lintRange-error': { backgroundImage: 'none', backgroundColor: 'var(--bad-soft)' },
  // CodeMirror's own mark is a picture in a `data:` URL, which the page's policy does not allow.
  '.cm-lint-marker-error': {
    content: 'none',
    width: '0.6rem',
    height: '0.6rem',
    margin: '0.3rem 0.1rem',
    borderRadius: '50%',
    backgroundColor: 'var(--bad)',
  },
  '.cm-tooltip': {
    backgroundColor: 'var(--surface)',
    color: 'var(--text)',
    border: '1px solid var(--border-control)',
  },
  '.cm-diagnostic': { fontFamily: 'var(--sans)', whiteSpace: 'pre-wrap' },
  '.cm-diagnostic-error': { borderLeftColor: 'var(--bad)' },
});

/**
 * Who types over a selection has Chromium keep the look of what was there, in a `style` attribute, which the page's policy refuses and
 * reports. So that is done here.
 */
const TYPED_OVER = EditorView.domEventHandlers({
  beforeinput: (event, view) => {
    const { data, inputType } = event;
    const isTyped = inputType === 'insertText' && data !== null && !view.composing;
    if (!isTyped || view.state.selection.main.empty) return false;
    view.dispatch(view.state.replaceSelection(data), { userEvent: 'input.type', scrollIntoView: true });
    return true;
  },
});

/** Makes one inside of `parent`, which has nothing in it. */
export function createTomlEditor(
  parent: HTMLElement,
  options: { text: string; label: string; onchange: (text: string) => void },
): TomlEditor {
  const root = parent.shadowRoot ?? parent.attachShadow({ mode: 'open' });
  const view = new EditorView({
    root,
    parent: root,
    state: EditorState.create({
      doc: options.text,
      extensions: [
        lineNumbers(),
        lintGutter(),
        history(),
        // Tab is left to the page: whoever has no mouse must get out.
        keymap.of([...defaultKeymap, ...historyKeymap]),
        StreamLanguage.define(toml),
        syntaxHighlighting(COLOURS),
        EditorView.lineWrapping,
        TYPED_OVER,
        EditorView.contentAttributes.of({ 'aria-label': options.label, spellcheck: 'false' }),
        EditorView.updateListener.of((update) => {
          if (update.docChanged) options.onchange(update.state.doc.toString());
        }),
        LOOK,
      ],
    }),
  });
  const lineAt = (line: number) => view.state.doc.line(Math.min(Math.max(line, 1), view.state.doc.lines));
  return {
    text: () => view.state.doc.toString(),
    setText: (text) => {
      if (text === view.state.doc.toString()) return;
      view.dispatch({ changes: { from: 0, to: view.state.doc.length, insert: text } });
    },
    showProblems: (problems) => {
      const diagnostics = problems.map(({ line, message }): Diagnostic => {
        const { from, to } = lineAt(line);
        return { from, to, severity: 'error', message };
      });
      view.dispatch(setDiagnostics(view.state, diagnostics));
    },
    focusLine: (line) => {
      view.dispatch({ selection: { anchor: lineAt(line).from }, scrollIntoView: true });
      view.focus();
    },
    destroy: () => view.destroy(),
  };
}
