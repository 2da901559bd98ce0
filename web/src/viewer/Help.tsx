/** Every key and every button of the mouse, on one sheet. */
import { Kbd, Modal } from '@mantine/core'
import classes from './controls.module.css'

const SECTIONS: [string, [string, string][]][] = [
  [
    'Mouse',
    [
      ['Left drag', 'Window, or the chosen tool'],
      ['Middle drag', 'Pan'],
      ['Right drag, Ctrl + wheel', 'Zoom'],
      ['Wheel', 'Through the stack'],
    ],
  ],
  [
    'Stack',
    [
      ['↑ ↓ ← →', 'Image before, image after'],
      ['PgUp PgDn', 'Ten images'],
      ['Home End', 'First, last'],
      ['[ ]', 'Series before, series after'],
      ['Space', 'Play, pause'],
      ['< >', 'Slower, faster'],
    ],
  ],
  [
    'Window',
    [
      ['1 – 5', 'Presets'],
      ['6', "The file's own"],
      ['Shift + ↑ ↓', 'Center up, down'],
      ['Shift + ← →', 'Narrower, wider'],
      ['I', 'Invert'],
    ],
  ],
  [
    'View',
    [
      ['+ −', 'Zoom in, out'],
      ['0', 'Fit'],
      ['Ctrl + arrows', 'Pan'],
      ['H V', 'Flip'],
      ['. ,', 'Rotate'],
      ['R', 'Reset all'],
      ['T', 'Text on, off'],
    ],
  ],
  [
    'Tools',
    [
      ['L', 'Length'],
      ['A', 'Angle'],
      ['W S P Z', 'Window, scroll, pan, zoom'],
      ['Del', 'Remove a measurement'],
      ['Esc', 'Back to window'],
      ['B', 'Back to the study'],
    ],
  ],
]

export function Help({ opened, onClose }: { opened: boolean; onClose: () => void }) {
  return (
    <Modal opened={opened} onClose={onClose} title="Keys and mouse" size="lg" centered classNames={{ content: classes.dialog }}>
      <div className={classes.help}>
        {SECTIONS.map(([title, rows]) => (
          <section key={title}>
            <h3>{title}</h3>
            <dl>
              {rows.map(([keys, what]) => (
                <div key={keys}>
                  <dt>
                    <Kbd size="xs">{keys}</Kbd>
                  </dt>
                  <dd>{what}</dd>
                </div>
              ))}
            </dl>
          </section>
        ))}
      </div>
    </Modal>
  )
}
