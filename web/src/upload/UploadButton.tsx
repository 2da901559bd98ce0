/** Buttons for those who would rather pick than drop. */
import { Button, Menu } from '@mantine/core'
import { IconChevronDown, IconFileZip, IconFolder, IconUpload } from '@tabler/icons-react'
import { useRef } from 'react'
import { fromFiles } from './collect'
import { uploads, useUpload } from './store'

export function UploadButton({ size = 'xs', source }: { size?: 'xs' | 'sm' | 'md'; source?: string | undefined }) {
  const files = useRef<HTMLInputElement>(null)
  const folder = useRef<HTMLInputElement>(null)
  const { askFirst } = useUpload()
  const take = (input: HTMLInputElement) => {
    const picked = fromFiles(Array.from(input.files ?? []))
    input.value = ''
    if (picked.length) void uploads.add(() => Promise.resolve(picked), source)
  }
  return (
    <>
      <input ref={files} type="file" multiple hidden data-testid="upload-files" onChange={(event) => take(event.currentTarget)} />
      <input
        ref={folder}
        type="file"
        hidden
        data-testid="upload-folder"
        {...{ webkitdirectory: '' }}
        onChange={(event) => take(event.currentTarget)}
      />
      <Menu position="bottom-end" width={210} withinPortal>
        <Menu.Target>
          <Button size={size} leftSection={<IconUpload size={15} />} rightSection={<IconChevronDown size={14} />}>
            Upload
          </Button>
        </Menu.Target>
        <Menu.Dropdown>
          <Menu.Item leftSection={<IconFolder size={16} />} onClick={() => folder.current?.click()}>
            A folder
          </Menu.Item>
          <Menu.Item leftSection={<IconFileZip size={16} />} onClick={() => files.current?.click()}>
            Files or a zip
          </Menu.Item>
          <Menu.Divider />
          <Menu.CheckboxItem closeMenuOnClick={false} checked={askFirst} onChange={(checked) => uploads.setAskFirst(checked)}>
            Say whose it is first
          </Menu.CheckboxItem>
        </Menu.Dropdown>
      </Menu>
    </>
  )
}
